"""Managed collision against a dictionary that follows the policies one id at a time, and against torchrec itself."""

import copy
import importlib.util

import pytest
import torch
from torch.optim.swa_utils import AveragedModel
from torch.testing import assert_close

from recsys.checkpoints.table_description import build_collection, describe_collection
from recsys.tables import (
    LFU,
    LRU,
    SGD,
    Adagrad,
    Adam,
    Bag,
    DenseGradient,
    DistanceLFU,
    Embedding,
    FbgemmLookup,
    Feature,
    Frozen,
    FullTable,
    ManagedCollisionTable,
    RowWiseAdagrad,
    TableCollection,
    TorchLookup,
)

V, D, ROWS = 10_000, 6, 40
POLICIES = [LRU(), LFU(), DistanceLFU(1.0), DistanceLFU()]
OPTIMIZERS = [SGD(0.1), Adagrad(0.1), RowWiseAdagrad(0.1), Adam(0.1)]

every_policy = pytest.mark.parametrize("policy", POLICIES, ids=str)
every_lookup = pytest.mark.parametrize("lookup", [TorchLookup, FbgemmLookup])
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)


def table_of(policy=None, name="item", num_rows=ROWS, eviction_interval=3, embedding_dim=D):
    return ManagedCollisionTable(
        name, V, embedding_dim, num_rows=num_rows, policy=policy, eviction_interval=eviction_interval
    )


def collect(table, **arguments):
    return TableCollection([Feature(table.name, table.name)], {table.name: table}, **arguments)


def drifting(num_batches, seed=0, largest=60):
    """Batches of skewed ids whose favourites change, of any size, some of them empty."""
    generator = torch.Generator().manual_seed(seed)
    for batch in range(num_batches):
        size = int(torch.randint(0, largest, (), generator=generator)) if batch % 7 else 0
        skewed = torch.rand(size, generator=generator).pow(3) * 90
        yield (skewed.long() * 37 + 11 * (batch // 6)) % V


def rows_of(table, ids):
    return table.rows_of(torch.as_tensor(ids))[0].tolist()


class Resets:
    """Rows that note which of them were started afresh."""

    def __init__(self):
        self.rows, self.values = torch.zeros(0, dtype=torch.int64), torch.zeros(0)

    def reset_rows(self, table, rows, values):
        self.rows, self.values = rows, values


def observe(table, ids):
    """Show a table its ids; the rows that it starts afresh."""
    resets = Resets()
    table.observe(ids, resets)
    return resets


def test_every_id_shares_the_last_row_until_one_is_earned():
    table = table_of()
    assert rows_of(table, [0, 5, V - 1]) == [ROWS - 1] * 3
    assert table.expected_collisions() == V - (ROWS - 1)


def test_huge_ids_are_told_apart():
    huge = 1 << 62
    table = ManagedCollisionTable("item", huge, D, num_rows=9, eviction_interval=1)
    ids = torch.tensor([0, 1, 2**53, 2**53 + 1, huge - 2, huge - 1])
    observe(table, ids)
    assert len(set(rows_of(table, ids))) == len(ids)
    assert 8 not in rows_of(table, ids)


@every_lookup
@every_optimizer
def test_an_id_inherits_neither_vector_nor_optimizer_state(lookup, optimizer):
    """The newcomer trains alike whether or not its row has served, and been trained for, another id."""
    vectors = []
    for history in (0, 5):
        collection = collect(table_of(LRU(), num_rows=2, eviction_interval=1), lookup=lookup, optimizer=optimizer)
        for _ in range(history):
            collection(torch.tensor([[7]])).sum().mul(100).backward()
            collection.step()
        old_row = collection.lookup.weight("item")[0].clone()
        fresh = collection(torch.tensor([[8]]))
        assert rows_of(collection.table("item"), [7, 8]) == [1, 0]
        fresh.square().sum().backward()
        collection.step()
        vectors.append((fresh.detach(), collection.lookup.weight("item")[0].clone()))
        assert not torch.equal(old_row, fresh[0, 0])
    assert torch.equal(vectors[0][0], vectors[1][0])
    if not isinstance(optimizer, Adam):  # its bias correction counts the steps of all rows
        assert_close(vectors[0][1], vectors[1][1], rtol=1e-6, atol=1e-8)
    collection(torch.tensor([[9]]))
    for kind in optimizer.state_dims(D):
        assert collection.lookup.state_dict()[f"item.{kind}"][0].abs().sum() == 0


def test_rows_that_stay_are_not_touched():
    collection = collect(table_of(LRU(), eviction_interval=1))
    collection(torch.arange(20).view(1, -1)).square().sum().backward()
    collection.step()
    before = collection.lookup.state_dict()
    kept = rows_of(collection.table("item"), range(10))
    before = {name: values.clone() for name, values in before.items()}
    collection(torch.arange(30, 80).view(1, -1))
    collection.table("item").observe(torch.arange(10), collection.lookup)
    after = collection.lookup.state_dict()
    still = [row for i, row in enumerate(kept) if rows_of(collection.table("item"), [i]) == [row]]
    for name in ("item.weight", "item.momentum"):
        assert torch.equal(before[name][still], after[name][still])


def test_a_fresh_vector_has_the_documented_deviation_and_depends_on_the_id_alone():
    table = ManagedCollisionTable("item", V, 16, num_rows=5_001, eviction_interval=1, init_std=0.02)
    fresh = observe(table, torch.arange(5_000))
    assert fresh.values.std().item() == pytest.approx(0.02, rel=0.03)
    assert abs(fresh.values.mean().item()) < 0.001
    assert len(fresh.values.unique(dim=0)) == 5_000
    other = ManagedCollisionTable("item", V, 16, num_rows=50, eviction_interval=1, init_std=0.02)
    observe(other, torch.arange(100, 149))
    again = observe(other, torch.arange(4_900, 4_949))
    by_row = dict(zip(again.rows.tolist(), again.values, strict=True))
    first = dict(zip(fresh.rows.tolist(), fresh.values, strict=True))
    for identifier in (4_900, 4_920):
        assert torch.equal(by_row[rows_of(other, [identifier])[0]], first[rows_of(table, [identifier])[0]])


@every_lookup
def test_in_evaluation_mode_and_with_frozen_rows_nothing_changes(lookup):
    for optimizer, training in ((SGD(0.1), False), (Frozen(), True)):
        collection = collect(table_of(eviction_interval=1), lookup=lookup, optimizer=optimizer)
        collection.train(training)
        before = copy.deepcopy(collection.state_dict())
        collection(torch.arange(50).view(1, -1))
        after = collection.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)


def steps(collection, batches):
    for ids in batches:
        loss = collection(ids.view(1, -1)).square().sum()
        if loss.requires_grad:  # FBGEMM makes no graph of an empty batch
            loss.backward()
            collection.step()


@every_lookup
@every_policy
@pytest.mark.parametrize("stop", [0, 1, 6, 20])
def test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit(lookup, policy, stop):
    """Also when it was stopped with ids still waiting, and goes on with another global seed; width 8 is not padded."""
    batches = list(drifting(24))
    torch.manual_seed(0)
    straight = collect(table_of(policy, embedding_dim=8), lookup=lookup)
    steps(straight, batches[:stop])
    saved = copy.deepcopy(straight.state_dict())
    steps(straight, batches[stop:])
    torch.manual_seed(1)
    resumed = collect(table_of(policy, embedding_dim=8), lookup=lookup)
    steps(resumed, drifting(4, seed=9))
    resumed.load_state_dict(saved)
    steps(resumed, batches[stop:])
    wanted, found = straight.state_dict(), resumed.state_dict()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_one_table_of_two_features_is_shown_both_as_one_batch():
    table = table_of(LFU(), eviction_interval=1)
    features = [Feature("watched", "item", "sum"), Feature("candidate", "item")]
    collection = TableCollection(features, {"item": table})
    collection(torch.tensor([[7, 9]]), {"watched": Bag(torch.tensor([3, 7, 7]), torch.tensor([1, 2]))})
    assert int(table.num_intervals) == 1
    counts = {int(i): int(n) for i, n in zip(table.slot_ids, table.counts, strict=True) if i < V}
    assert counts == {3: 1, 7: 3, 9: 1}


def test_dynamic_and_other_tables_mix():
    tables = {"a": table_of(name="a", eviction_interval=1), "b": FullTable("b", V, D)}
    tables |= {"c": table_of(name="c", num_rows=10, eviction_interval=2)}
    collection = TableCollection([Feature(name, name) for name in tables], tables)
    ids = torch.arange(15).view(3, 5)
    collection(ids)
    embedded = collection(ids)
    for position, name in enumerate(tables):
        rows = rows_of(tables[name], ids[position])
        assert ROWS - 1 not in rows
        assert_close(embedded[:, position], collection.lookup.weight(name)[rows])


def test_the_drop_in_gives_out_rows_too():
    embedding = Embedding(table_of(LRU(), num_rows=2, eviction_interval=1))
    before = embedding(torch.tensor([7])).detach()
    with torch.no_grad():
        embedding.weights[0].add_(1.0)
    assert not torch.equal(embedding(torch.tensor([8])), before + 1)
    assert torch.equal(embedding(torch.tensor([7])), before), "a fresh vector depends on the id"
    embedding.eval()
    assert torch.equal(embedding(torch.tensor([8])), embedding.weights[0][[1]])


def test_bytes_are_those_of_the_mapping_the_counters_and_the_ids_that_wait():
    table = table_of(DistanceLFU())
    assert table.own_bytes() == ROWS * 32 + 24
    observe(table, torch.arange(7))
    assert (table.own_bytes(), table.training_bytes()) == (ROWS * 32 + 24, 7 * 8)
    assert table_of(LRU()).own_bytes() == ROWS * 24 + 24
    within = ManagedCollisionTable("item", V, D, budget_bytes=5_000)
    assert within.num_rows * (4 * D + 32) + 24 <= 5_000 < (within.num_rows + 1) * (4 * D + 32) + 24
    assert ManagedCollisionTable("item", 10, D, budget_fraction=1.0, policy=LRU()).num_rows == 4


def test_copies_of_its_buffers_may_be_averaged_while_ids_wait():
    collection = collect(table_of())
    averaged = AveragedModel(collection)
    steps(collection, [torch.arange(5)])
    averaged.update_parameters(collection)
    assert len(collection.table("item").get_extra_state()) == 5


def test_its_description_builds_it_again():
    collection = collect(table_of(DistanceLFU(1.5), eviction_interval=1))
    steps(collection, drifting(5))
    again = build_collection(describe_collection(collection))
    again.tables.load_state_dict(collection.tables.state_dict())
    assert again.table("item").policy == DistanceLFU(1.5)
    assert rows_of(again.table("item"), range(V)) == rows_of(collection.table("item"), range(V))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: table_of(num_rows=1), r"num_rows must be in \[2, 2147483648\], got 1"),
        (lambda: table_of(eviction_interval=0), "eviction_interval must be at least 1, got 0"),
        (lambda: ManagedCollisionTable("item", 2**62 + 1, D, num_rows=9), r"num_embeddings must be in \[1, "),
        (lambda: ManagedCollisionTable("item", V, D), "exactly one of num_rows or budget_bytes or budget_fraction"),
        (lambda: ManagedCollisionTable("item", V, D, budget_bytes=9), "smallest budget that can is 136 bytes"),
        (lambda: DistanceLFU(0.0), "decay_exponent must be finite and above 0, got 0.0"),
        (lambda: collect(table_of(), optimizer=DenseGradient()), "got DenseGradient; choose SGD, Adagrad"),
        (
            lambda: TableCollection(
                [Feature("a", "a"), Feature("b", "b")], {"a": table_of(), "b": FullTable("item", ROWS, D)}
            ),
            "'a' and 'b' share physical table 'item', whose rows ManagedCollisionTable gives from id to id",
        ),
    ],
)
def test_a_mistake_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_without_torchrec_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr("recsys.tables.managed_collision.find_spec", lambda name: None)
    assert importlib.util.find_spec("torchrec")
    with pytest.raises(ValueError, match=r"'item' needs torchrec and fbgemm; `recsys doctor` has the command"):
        table_of()
