"""CAFETable: the sketch against a slow one, rows and their state that move with ids, and what it is good for."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_in_use import collection_of
from torch.testing import assert_close

from recsys.tables import Adagrad, Adam, CAFETable, DenseGradient, HashTable
from recsys.tables.routing.hashes import bucket
from recsys.tables.sizing import stored_bytes

V, D = 500, 4


class SlowSketch:
    """What CAFETable decides, with lists and loops."""

    def __init__(self, table):
        self.table = table
        self.cells = [[(-1, 0, -1) for _ in range(4)] for _ in range(len(table.cell_ids))]
        every = torch.arange(V).unsqueeze(1)
        self.buckets = bucket(every, table.seed, table.num_buckets).tolist()

    def score(self, cell):
        return cell[1] + (cell[1] // 4 if cell[2] >= 0 else 0)

    def bucket_of(self, identifier, which):
        return self.buckets[identifier][which]

    def decide(self, ids):
        faded = round(self.table.decay * 65536)
        self.cells = [[(i, count * faded // 65536, row) for i, count, row in cells] for cells in self.cells]
        seen = {identifier: ids.count(identifier) * 256 for identifier in sorted(set(ids))}
        newcomers = {}
        for identifier, added in seen.items():
            cells = self.cells[self.bucket_of(identifier, 0)]
            place = next((p for p, cell in enumerate(cells) if cell[0] == identifier), None)
            if place is None:
                newcomers.setdefault(self.bucket_of(identifier, 0), []).append((identifier, added))
            else:
                cells[place] = (identifier, cells[place][1] + added, cells[place][2])
        for number, own in newcomers.items():
            cells = self.cells[number]
            least = min(count for _, count, _ in cells)
            weakest = sorted(range(4), key=lambda place, cells=cells: self.score(cells[place]))
            merged = list(cells)
            for place, (identifier, added) in zip(weakest, sorted(own, key=lambda each: -each[1]), strict=False):
                if least + added > self.score(cells[place]):
                    merged[place] = (identifier, least + added, -1)
            self.cells[number] = merged
        flat = [(number, place) for number in range(len(self.cells)) for place in range(4)]
        ranked = sorted(flat, key=lambda at: -self.score(self.cells[at[0]][at[1]]))[: self.table.num_hot]
        chosen = [
            (n, p)
            for n, p in flat
            if (n, p) in ranked and (self.cells[n][p][2] >= 0 or self.cells[n][p][1] >= 256 * self.table.min_count)
        ]
        for number, place in flat:
            if (number, place) not in chosen:
                self.cells[number][place] = (*self.cells[number][place][:2], -1)
        used = {row for cells in self.cells for _, _, row in cells}
        free = iter(row for row in range(self.table.num_hot) if row not in used)
        for number, place in chosen:
            identifier, count, row = self.cells[number][place]
            self.cells[number][place] = (identifier, count, row if row >= 0 else next(free))

    def row(self, identifier):
        for own, _, row in self.cells[self.bucket_of(identifier, 0)]:
            if own == identifier and row >= 0:
                return row
        return self.table.num_hot + self.bucket_of(identifier, 1)


class Copies:
    """Notes what is copied."""

    def __init__(self):
        self.made = []

    def copy_rows(self, table, sources, targets):
        self.made.append((sources.tolist(), targets.tolist()))


@given(
    num_rows=st.integers(2, 60),
    min_count=st.integers(1, 3),
    decay=st.sampled_from([1.0, 0.9, 0.5]),
    seed=st.integers(0, 1_000),
)
@settings(deadline=None, max_examples=60)
def test_it_decides_as_the_slow_sketch_does(num_rows, min_count, decay, seed):
    table = CAFETable("f", V, D, num_rows=num_rows, interval=1, min_count=min_count, decay=decay)
    slow, generator = SlowSketch(table), torch.Generator().manual_seed(seed)
    for step in range(5):
        ids = (torch.rand(70, generator=generator).pow(3) * V).long() * (step + 1) % V
        table.observe(ids, Copies())
        slow.decide(ids.tolist())
        expected = [slow.row(identifier) for identifier in range(V)]
        assert table.rows_of(torch.arange(V))[0].tolist() == expected
        own = [row for row in expected if row < table.num_hot]
        assert len(set(own)) == len(own), "an exclusive row has one id"


def step(collection, ids, learning_rate_factor=1.0):
    vectors = collection(ids.unsqueeze(0))
    (vectors - 1).square().sum().backward()
    collection.step(learning_rate_factor)
    return vectors


@pytest.mark.parametrize("optimizer", [Adagrad(0.1), Adam(0.1)], ids=str)
def test_a_promoted_id_takes_its_vector_and_state_along(optimizer):
    table = CAFETable("f", V, D, num_rows=20, interval=2)
    collection = collection_of(table, optimizer=optimizer)
    ids = torch.tensor([7, 7, 7, 300])
    step(collection, ids)
    shared = int(table.rows_of(torch.tensor([7])))
    before = {kind: values[shared].clone() for kind, values in collection.lookup.tensors("f").items()}
    assert shared >= table.num_hot
    collection(ids.unsqueeze(0))
    own = int(table.rows_of(torch.tensor([7])))
    assert own < table.num_hot
    for kind, values in collection.lookup.tensors("f").items():
        assert torch.equal(values[own], before[kind]), kind
    assert int(table.rows_of(torch.tensor([300]))) >= 0


def test_ids_that_fade_give_their_rows_away():
    table = CAFETable("f", V, D, num_rows=14, interval=1, decay=0.5)
    early, late = torch.arange(5).repeat(20), torch.arange(100, 110).repeat(20)
    table.observe(early, Copies())
    assert (table.rows_of(torch.arange(5)) < table.num_hot).all()
    for _ in range(4):
        table.observe(late, Copies())
    assert (table.rows_of(torch.arange(100, 110)) < table.num_hot).sum() >= 8
    assert (table.rows_of(torch.arange(5)) >= table.num_hot).sum() >= 3


def test_nothing_changes_in_evaluation_mode_nor_before_an_interval_ends():
    table = CAFETable("f", V, D, num_rows=20, interval=3)
    collection = collection_of(table)
    rows = table.rows_of(torch.arange(V))
    for _ in range(2):
        collection(torch.full((1, 9), 4))
    collection.eval()
    for _ in range(5):
        collection(torch.full((1, 9), 4))
    assert torch.equal(table.rows_of(torch.arange(V)), rows)
    assert table.own_bytes() == table.cell_ids.numel() * 12 + 8, "a budget counts this"
    assert table.training_bytes() == 18 * 8
    collection.train()(torch.full((1, 9), 4))
    assert int(table.rows_of(torch.tensor([4]))) < table.num_hot


def test_a_run_that_is_cut_off_goes_on_to_the_bit():
    def fresh():
        return collection_of(CAFETable("f", V, D, num_rows=40, interval=3), optimizer=Adagrad(0.1))

    batches = [(torch.rand(30, generator=torch.Generator().manual_seed(s)).pow(3) * V).long() for s in range(10)]
    whole = fresh()
    for batch in batches:
        step(whole, batch)
    first, second = fresh(), fresh()
    for batch in batches[:5]:
        step(first, batch)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for batch in batches[5:]:
        step(second, batch)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


def skewed(seed):
    return (torch.rand(200, generator=torch.Generator().manual_seed(seed)).pow(4) * V).long() * 7 % V


def test_it_learns_more_than_hashing_alone_at_equal_rows():
    wanted = torch.randn(V, D, generator=torch.Generator().manual_seed(0))
    losses = {}
    for table in (CAFETable("f", V, D, num_rows=50, interval=5), HashTable("f", V, D, num_rows=50)):
        collection = collection_of(table, optimizer=Adagrad(0.2))
        for seed in range(150):
            ids = skewed(seed)
            (collection(ids.unsqueeze(0))[:, 0] - wanted[ids]).square().sum(-1).mean().backward()
            collection.step()
        ids = torch.cat([skewed(seed) for seed in range(1_000, 1_010)])
        losses[type(table)] = (collection.eval()(ids.unsqueeze(0))[:, 0] - wanted[ids]).square().mean().item()
    assert losses[CAFETable] < 0.8 * losses[HashTable], losses


@given(num_embeddings=st.integers(1, 10**5), budget=st.integers(1, 10**6))
@settings(deadline=None, max_examples=100)
def test_a_budget_is_kept_and_used(num_embeddings, budget):
    smallest = 2 * 64 + 48 + 8
    if budget < smallest:
        with pytest.raises(ValueError, match=f"the smallest budget that can is {smallest} bytes"):
            CAFETable("f", num_embeddings, 16, budget_bytes=budget)
        return
    table = CAFETable("f", num_embeddings, 16, budget_bytes=budget)
    assert stored_bytes({"f": table}) <= budget
    if table.num_rows < num_embeddings and budget > 10_000:
        assert stored_bytes({"f": table}) >= 0.95 * budget


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CAFETable("f", 9, 4, num_rows=1), "num_rows must be in"),
        (lambda: CAFETable("f", 9, 4, num_rows=5, hash_fraction=1.0), r"hash_fraction must be in \(0, 1\), got 1.0"),
        (lambda: CAFETable("f", 9, 4, num_rows=5, decay=0.0), r"decay must be in \(0, 1\], got 0.0"),
        (lambda: CAFETable("f", 9, 4, num_rows=5, interval=0), "interval must be at least 1, got 0"),
        (
            lambda: collection_of(CAFETable("f", 9, 4, num_rows=5), optimizer=DenseGradient()),
            "must be one whose state moves with a row",
        ),
    ],
)
def test_a_mistake_is_named_with_its_value(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_large_ids_are_kept_whole():
    table = CAFETable("f", 1 << 40, D, num_rows=10, interval=1)
    ids = torch.tensor([(1 << 40) - 1, (1 << 32) + 5, 5])
    table.observe(ids.repeat(2), Copies())
    assert sorted(table.rows_of(ids)[0].tolist()) == [0, 1, 2]
    assert_close(table.cell_ids.max(), ids[0])
