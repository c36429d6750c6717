"""What pruning leaves, against dense matrices with the same values: bits, kept rows and columns, single values."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.tables import Bag, CompactTable, Feature, SparseTable, TableCollection
from recsys.tables.routing.ranks import count_before, count_bits, pack_bits, rank
from recsys.tables.row_codes import decoded, encoded

D = 5


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 300), st.integers(0, 2**32))
def test_ranks_number_what_is_kept(num_places, seed):
    kept = torch.rand(num_places, generator=torch.Generator().manual_seed(seed)) < 0.4
    words = pack_bits(kept)
    found = rank(torch.arange(num_places), words.__getitem__, count_before(words).__getitem__)
    expected = [sum(kept[:place].tolist()) if flag else -1 for place, flag in enumerate(kept.tolist())]
    assert found.tolist() == expected


def test_all_bits_of_a_word_are_counted_the_sign_too():
    words = torch.tensor([0, -1, 1, -(2**63), 2**63 - 1])
    assert count_bits(words).tolist() == [0, 64, 1, 1, 63]


def dense(kept, values, common):
    """[V, D] with the values that are kept, and the common vector's elsewhere."""
    return torch.where(kept, values, common)


def compact(name, num_embeddings, columns, generator):
    kept = torch.rand(num_embeddings, generator=generator) < 0.5
    kept[0] = True
    table = CompactTable(name, num_embeddings, D, kept=pack_bits(kept), columns=columns)
    values, common = torch.randn(num_embeddings, D, generator=generator), torch.randn(D, generator=generator)
    table.common.data.copy_(common)
    has = torch.zeros(D, dtype=torch.bool)
    has[columns] = True
    return table, (values - common)[kept][:, columns], dense(kept.unsqueeze(1) & has, values, common)


def sparse(name, num_embeddings, share, generator):
    kept = torch.rand(num_embeddings, D, generator=generator) < share
    kept[0, 0] = True
    rows = kept.any(1)
    table = SparseTable(name, num_embeddings, D, entries=pack_bits(kept[rows].reshape(-1)), kept=pack_bits(rows))
    values, common = torch.randn(num_embeddings, D, generator=generator), torch.randn(D, generator=generator)
    table.common.data.copy_(common)
    return table, (values - common)[kept].unsqueeze(1), dense(kept, values, common)


@pytest.mark.parametrize("make", ["compact", "compact-all", "sparse"])
def test_tables_of_a_group_equal_dense_matrices(make):
    generator = torch.Generator().manual_seed(3)
    sizes = {"a": 700, "b": 130, "bag": 64, "mean": 333}
    made = {}
    for place, (name, size) in enumerate(sizes.items()):
        if make == "sparse":
            made[name] = sparse(name, size, 0.05 * (place + 1), generator)
        else:
            made[name] = compact(name, size, [0, 1, 2, 3, 4] if make == "compact-all" else [place, 4], generator)
    pooling = {"bag": "sum", "mean": "mean"}
    features = [Feature(name, name, pooling.get(name)) for name in sizes]
    collection = TableCollection(features, {name: table for name, (table, _, _) in made.items()})
    assert len(collection.groups) == 2, "tables that differ in what they keep are one group"
    for name, (_, rows, _) in made.items():
        collection.lookup.load_weight(name, rows)
    ids = torch.stack([torch.randint(0, sizes[name], (9,), generator=generator) for name in ("a", "b")])
    lengths = torch.tensor([2, 0, 3, 1, 1, 0, 4, 2, 2])
    bags = {name: Bag(torch.randint(0, sizes[name], (15,), generator=generator), lengths) for name in ("bag", "mean")}
    found = collection(ids, bags)
    for place, name in enumerate(("a", "b")):
        assert_close(found[:, place], made[name][2][ids[place]], rtol=1e-6, atol=1e-6)
    for place, name in enumerate(("bag", "mean"), 2):
        parts = made[name][2][bags[name].values].split(lengths.tolist())
        expected = [part.sum(0) / (max(1, len(part)) if name == "mean" else 1) for part in parts]
        assert_close(found[:, place], torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_bytes_count_bits_and_common_vector():
    table, rows, _ = compact("f", 130, [1, 2], torch.Generator().manual_seed(0))
    assert table.own_bytes() == 3 * (8 + 4) + 4 * D
    assert table.physical_tables()[0].num_bytes() == 4 * rows.numel()
    table, rows, _ = sparse("f", 130, 0.1, torch.Generator().manual_seed(0))
    num_kept = int((count_bits(table.kept)).sum())
    assert table.own_bytes() == 12 * (3 + -(-num_kept * D // 64)) + 4 * D
    assert table.physical_tables()[0].num_bytes() == 4 * rows.numel()


@pytest.mark.parametrize(
    ("precision", "value_bytes", "largest_error"),
    [("float16", 2, 2**-11), ("bfloat16", 2, 2**-8), ("int8", 1, 0.5 / 127), ("int4", None, 0.5)],
)
def test_rows_of_fewer_bits_are_the_nearest_and_ids_without_one_stay_the_common_vector(
    precision, value_bytes, largest_error
):
    generator = torch.Generator().manual_seed(1)
    kept, columns = torch.rand(300, generator=generator) < 0.5, [1, 2, 4]
    table = CompactTable("f", 300, D, kept=pack_bits(kept), columns=columns, precision=precision)
    rows = torch.randn(int(kept.sum()), 3, generator=generator) * torch.tensor([1e-3, 1.0, 50.0])
    table.common.data.copy_(torch.arange(D))
    expected = torch.arange(float(D)).repeat(300, 1)
    scales = table.own_bytes() - 12 * 5 - 4 * D
    assert scales == (12 if precision == "int8" else 0)
    stored = 4 * len(rows) if precision == "int4" else value_bytes * rows.numel()
    assert sum(each.num_bytes() for each in table.physical_tables()) == stored
    collection = TableCollection([Feature("f", "f")], {"f": table})
    for name, values in table.stored(rows).items():
        collection.lookup.load_weight(name, values)
    found = collection(torch.arange(300).unsqueeze(0))[:, 0].detach()
    assert_close(found[~kept], expected[~kept], rtol=0, atol=0)
    errors = (found - expected)[kept][:, columns] - rows
    # A code errs by half a step of its column, a half by half a unit in its last place; then both are added up.
    # Codes of 4 bits have half of the largest value beyond their reach at most, and lose the least together.
    bound = {"int8": rows.abs().amax(0), "int4": rows.abs().amax(1, keepdim=True)}.get(precision, rows.abs())
    assert bool((errors.abs() <= bound * largest_error + 1e-5).all())


def slow_codes(row):
    """The scale and codes of least squared error among 21 scales, in float64."""
    tried = []
    for part in np.linspace(1, 0.5, 21):
        scale = float(torch.tensor(np.abs(row).max() / 7 * part).bfloat16())
        levels = np.clip(np.round(row / scale), -7, 7)
        tried.append((((levels * scale - row) ** 2).sum(), scale, levels))
    return min(tried, key=lambda each: each[0])


@pytest.mark.parametrize("width", [1, 4, 5])
def test_codes_of_four_bits_lose_the_least(width):
    rows = torch.randn(50, width, generator=torch.Generator().manual_seed(width)) * torch.logspace(-6, 6, 50)[:, None]
    rows[7] = 0
    codes, scales = encoded(rows)
    assert codes.dtype == torch.uint8
    assert tuple(codes.shape) == (50, -(-width // 2))
    values = (decoded(codes.float())[:, :width] * scales).double().numpy()
    for row, found in zip(rows.double().numpy(), values, strict=True):
        least = slow_codes(row)[0] if row.any() else 0.0
        assert ((found - row) ** 2).sum() <= least * (1 + 1e-3) + 1e-30


def test_values_beyond_a_precision_are_refused():
    table = CompactTable("f", 10, D, num_rows=10, precision="float16")
    with pytest.raises(ValueError, match="finite in float16"):
        table.stored(torch.full((10, D), 1e6))
    with pytest.raises(ValueError, match="precision must be one of float32, float16, bfloat16, int8, int4, got 'int3'"):
        CompactTable("f", 10, D, num_rows=10, precision="int3")


@pytest.mark.parametrize("kind", [CompactTable, SparseTable])
def test_without_rows_there_is_the_common_vector(kind):
    arguments = {"num_rows": 0} if kind is CompactTable else {"num_values": 0}
    table = kind("f", 10, D, **arguments)
    table.common.data.fill_(0.5)
    collection = TableCollection([Feature("f", "f")], {"f": table})
    assert_close(collection(torch.tensor([[0, 9]])), torch.full((2, 1, D), 0.5))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (torch.zeros(2, dtype=torch.int64), "1 words"),
        (torch.zeros(1), "int64"),
        (torch.tensor([1 << 10]), "beyond its 10 places"),
    ],
)
def test_other_bits_are_refused(words, said):
    with pytest.raises(ValueError, match=said):
        CompactTable("f", 10, D, kept=words)


def test_columns_are_checked():
    with pytest.raises(ValueError, match="columns must be in"):
        CompactTable("f", 10, D, num_rows=3, columns=[2, 1])
    with pytest.raises(ValueError, match="entries and kept together"):
        SparseTable("f", 10, D, kept=pack_bits(torch.ones(10, dtype=torch.bool)))
    none = torch.zeros(10, dtype=torch.bool)
    with pytest.raises(ValueError, match="kept has no id; give num_values=0"):
        SparseTable("f", 10, D, kept=pack_bits(none), entries=pack_bits(none[:0]))
