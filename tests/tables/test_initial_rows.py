"""A range of a matrix' first rows, drawn without holding the matrix."""

import math
import resource

import pytest
import torch

from recsys.tables import Feature, FullTable, NumbaLookup, PhysicalTable, TableCollection, TorchLookup
from recsys.tables.physical import named_generator
from tests.tables.contract import EMBEDDING_DIM, EXAMPLES

TABLE = PhysicalTable("a", 1_000, 6, 0.1)


def rows_of(first, last, **settings):
    """What the blocks hold, and where the first one begins."""
    blocks = [(start, rows.clone()) for start, rows in TABLE.initial_blocks(first, last, **settings)]
    stops = [start + len(rows) for start, rows in blocks]
    assert [start for start, _ in blocks] == [first, *stops[:-1]]
    return torch.cat([rows for _, rows in blocks])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("block_values", [1, 37, 96, 6_000, 1 << 20])
def test_any_range_has_the_bits_of_the_whole(block_values, dtype):
    bound = math.sqrt(3) * 0.1
    whole = torch.empty(1_000, 6, dtype=dtype).uniform_(-bound, bound, generator=named_generator("a"))
    assert torch.equal(TABLE.initial_rows(dtype), whole)
    for first, last in ((0, 1_000), (0, 1), (333, 500), (999, 1_000)):
        assert torch.equal(rows_of(first, last, dtype=dtype, block_values=block_values), whole[first:last])


@pytest.mark.parametrize("init_std", [-1.0, math.nan, math.inf, 1e300, True])
def test_a_deviation_that_no_rows_have_is_refused(init_std):
    """By every method, before anything is drawn, and by a matrix that a method of one's own declares."""
    for table_type, arguments in EXAMPLES.values():
        with pytest.raises(
            ValueError, match=rf"{table_type.__name__} 'f': init_std must be (in \[0, 10000\]|float), got"
        ):
            table_type("f", 3_000, EMBEDDING_DIM, **{**arguments, "init_std": init_std})
    with pytest.raises(ValueError, match=r"[Pp]hysical ?[Tt]able.*: init_std must be (in|float)"):
        PhysicalTable("f", 3, 4, init_std)


def test_an_empty_range_draws_nothing():
    assert list(TABLE.initial_blocks(0, 0)) == list(TABLE.initial_blocks(1_000, 1_000)) == []


def test_a_large_matrix_takes_the_memory_of_a_block(monkeypatch):
    sizes, empty = [], torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **settings: sizes.append(size) or empty(*size, **settings))
    table = PhysicalTable("a", 3_000_000, 4, 0.1)
    storages = {rows.untyped_storage().data_ptr() for _, rows in table.initial_blocks(2_000_000, 3_000_000)}
    assert sizes == [((1 << 20) // 4, 4)]
    assert len(storages) == 1


def test_rows_depend_on_the_global_seed_and_the_name():
    torch.manual_seed(3)
    first, other = TABLE.initial_rows(), PhysicalTable("b", 1_000, 6, 0.1).initial_rows()
    assert torch.equal(TABLE.initial_rows(), first)
    assert not torch.equal(first, other)
    torch.manual_seed(4)
    assert not torch.equal(TABLE.initial_rows(), first)
    assert torch.equal(TABLE.initial_rows(seed=3), first)


def test_rows_begin_around_their_mean():
    rows = PhysicalTable("a", 50_000, 2, 0.1, init_mean=1.0).initial_rows()
    assert rows.mean().item() == pytest.approx(1.0, abs=0.002)
    assert rows.std().item() == pytest.approx(0.1, rel=0.02)
    assert PhysicalTable("a", 5, 2, 0.0, init_mean=1.0).initial_rows().unique().tolist() == [1.0]


@pytest.mark.parametrize("lookup", [TorchLookup, NumbaLookup])
def test_building_rows_holds_them_once(lookup):
    num_bytes = 400 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    table = FullTable("a", num_bytes // 64, 16)
    collection = TableCollection([Feature("a", "a")], {"a": table}, lookup=lookup)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    stored = collection.lookup.stored_bytes("a") + collection.lookup.state_bytes("a")
    assert after - before <= 1.1 * stored


@pytest.mark.parametrize("lookup", [TorchLookup, NumbaLookup])
def test_a_stack_of_more_rows_than_16_bits_count(lookup):
    tables = {name: FullTable(name, 40_000, 4) for name in "ab"}
    collection = TableCollection([Feature(name, name) for name in tables], tables, lookup=lookup)
    weight = collection.lookup.weight("b").clone()
    found = collection(torch.tensor([[39_999, 0], [32_768, 39_999]]))
    assert torch.equal(found[:, 1], weight[[32_768, 39_999]])
    found[0, 1].sum().backward()
    collection.step()
    assert (collection.lookup.weight("b") != weight).any(1).nonzero().flatten().tolist() == [32_768]
