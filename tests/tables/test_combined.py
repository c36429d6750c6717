"""Several tables for one feature against the sum, the concatenation and the weighted sum of what each gives alone."""

from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from recsys.checkpoints.table_description import build_collection, describe_collection
from recsys.tables import (
    Bag,
    ConcatTable,
    ContentTable,
    Embedding,
    Feature,
    FullTable,
    GateTable,
    HashTable,
    ManagedCollisionTable,
    MixedDimTable,
    PrunedTable,
    SemanticIdTable,
    SumTable,
    TableCollection,
    UnifiedTable,
)

CODES = torch.stack([torch.arange(40) % 3, torch.arange(40) % 7])
SEMANTIC = partial(SemanticIdTable, codes=CODES)
CONTENT = partial(ContentTable, vectors=torch.randn(40, 5, generator=torch.Generator().manual_seed(0)))
PARTS = [FullTable, SEMANTIC, CONTENT, partial(MixedDimTable, row_dim=2), partial(PrunedTable, num_rows=30)]


def alone(parts, dims, std):
    """Each part as a table of its own, under the name that it has in a combination."""
    made = zip(parts, dims, strict=True)
    return [Embedding(part(f"f/{place}", 40, dim, init_std=std)) for place, (part, dim) in enumerate(made)]


def test_a_sum_is_the_sum_of_its_parts():
    ids = torch.arange(40)
    parts = alone(PARTS, [8] * 5, 0.1 / 5**0.5)
    combined = Embedding(SumTable("f", 40, 8, tables=PARTS, init_std=0.1))
    torch.testing.assert_close(combined(ids), sum(part(ids) for part in parts))
    assert combined(ids).std().item() == pytest.approx(0.1, rel=0.25)


def test_shares_are_those_of_the_variance():
    combined = SumTable("f", 4_000, 8, tables=[FullTable, FullTable], init_std=0.1, shares=[1, 99])
    ids = torch.arange(4_000)
    own, shared = (matrix.init_std for matrix in combined.physical_tables())
    assert own == pytest.approx(0.01)
    assert shared == pytest.approx(0.1 * 0.99**0.5)
    assert Embedding(combined)(ids).std().item() == pytest.approx(0.1, rel=0.03)


def test_a_bias_begins_at_zero_and_is_added_once_for_every_id():
    parts, bag = [FullTable, SEMANTIC], Bag(torch.tensor([3, 3, 8, 1]), torch.tensor([3, 0, 1]))
    without = Embedding(SumTable("f", 40, 8, tables=parts))(torch.arange(40))
    table = SumTable("f", 40, 8, tables=parts, bias=True)
    assert torch.equal(Embedding(table)(torch.arange(40)), without)
    collection = TableCollection([Feature("f", "f", "sum")], {"f": table})
    with torch.no_grad():
        collection.table("f").bias.copy_(torch.arange(8))
    expected = torch.stack([without[[3, 3, 8]].sum(0), torch.zeros(8), without[1]])
    expected += torch.tensor([[3], [0], [1]]) * torch.arange(8)
    torch.testing.assert_close(collection(torch.zeros(0, 3, dtype=torch.long), {"f": bag}).squeeze(1), expected)


@pytest.mark.parametrize("shares", [[1], [1, 0], [1, float("nan")], [1, float("inf")], []])
def test_shares_that_do_not_fit_are_refused(shares):
    with pytest.raises(ValueError, match=r"SumTable 'f': shares must be 2 positive numbers, got \["):
        SumTable("f", 40, 8, tables=[FullTable, FullTable], shares=shares)


def test_a_concatenation_is_its_parts_side_by_side():
    ids = torch.arange(40)
    parts = alone(PARTS, [2, 4, 8, 6, 4], 0.1)
    combined = Embedding(ConcatTable("f", 40, 24, tables=PARTS, dims=[2, 4, 8, 6, 4], init_std=0.1))
    torch.testing.assert_close(combined(ids), torch.cat([part(ids) for part in parts], 1))


def test_a_gate_weighs_its_parts_by_frequency():
    ids = torch.arange(40)
    counts = torch.cat([torch.tensor([1000, 900, 8, 7, 4, 3, 2, 1]), torch.zeros(32, dtype=torch.long)])
    table = GateTable("f", 40, 8, tables=[FullTable, SEMANTIC], counts=counts, unseen=1, init_std=0.1)
    expected = [10, 10, 4, 3, 3, 2, 2, 1] + [0] * 32
    assert table.get_buffer("groups").tolist() == expected
    torch.nn.init.normal_(table.gate)
    first, second = (part(ids) for part in alone([FullTable, SEMANTIC], [8, 8], 0.1 / 2**0.5))
    weights = 2 * torch.softmax(table.gate[expected], 1)
    vectors = first * weights[:, :1] + second * weights[:, 1:]
    vectors[8:] = second[8:] * 2**0.5
    torch.testing.assert_close(Embedding(table)(ids), vectors)


def test_without_counts_ids_are_by_falling_frequency():
    groups = GateTable("f", 40, 8, tables=[FullTable, SEMANTIC]).get_buffer("groups")
    assert groups.long().diff().max() <= 0
    assert len(groups.unique()) == 6


def test_counts_of_a_file(tmp_path):
    path = tmp_path / "counts.parquet"
    pq.write_table(pa.table({"id": list(range(40)), "count": [0, *range(39, 0, -1)]}), path)
    table = GateTable("f", 40, 8, tables=[FullTable, SEMANTIC], counts=str(path))
    assert table.get_buffer("groups").tolist()[:3] == [0, 6, 6]
    pq.write_table(pa.table({"id": [0, 1], "count": [1, 1]}), path)
    with pytest.raises(ValueError, match="must count each of num_embeddings=40 ids"):
        GateTable("f", 40, 8, tables=[FullTable, SEMANTIC], counts=str(path))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (partial(SumTable, tables=[FullTable]), "two or more, got 1"),
        (partial(ConcatTable, tables=[FullTable, FullTable], dims=[4, 5]), r"add up to embedding_dim=8, got \[4, 5\]"),
        (partial(ConcatTable, tables=[FullTable] * 3), "add up to embedding_dim=8"),
        (partial(SumTable, tables=[FullTable, partial(UnifiedTable, num_rows=9)]), "UnifiedTable cannot be a part"),
        (partial(SumTable, tables=[FullTable, partial(ManagedCollisionTable, num_rows=9)]), "cannot be a part"),
        (partial(GateTable, tables=[FullTable, SEMANTIC], unseen=1), "unseen needs counts"),
        (partial(GateTable, tables=[FullTable, SEMANTIC], counts=torch.ones(3).long()), "num_embeddings=40"),
    ],
)
def test_mistakes_are_named(make, said):
    with pytest.raises(ValueError, match=said):
        make("f", 40, 8)


def test_codes_of_a_part_are_kept_and_others_refused():
    trained = Embedding(SumTable("f", 40, 8, tables=[FullTable, SEMANTIC]))
    others = Embedding(SumTable("f", 40, 8, tables=[FullTable, partial(SemanticIdTable, codes=CODES.roll(1, 1))]))
    with pytest.raises(RuntimeError, match=r"SemanticIdTable 'f/1': \d+ ids have other codes"):
        others.load_state_dict(trained.state_dict())


@pytest.mark.parametrize(
    "make",
    [
        partial(SumTable, tables=[partial(HashTable, num_rows=9), SEMANTIC, CONTENT]),
        partial(GateTable, tables=[SEMANTIC, partial(HashTable, num_rows=9)], unseen=0, counts=CODES[0]),
    ],
)
def test_a_description_builds_the_table_again_without_files(make):
    table = make("f", 40, 8)
    collection = TableCollection([Feature("f", "f")], {"f": table})
    trained = collection.state_dict()
    state = {f"f.{name}": value for name, value in table.state_dict().items()}
    again = build_collection(describe_collection(collection), state=state)
    again.load_state_dict({name: trained[name] for name in again.state_dict()})
    ids = torch.arange(40).unsqueeze(0)
    assert torch.equal(again(ids), collection(ids))


def test_bytes_are_those_of_the_parts():
    table = SumTable("f", 40, 8, tables=[FullTable, SEMANTIC])
    parts = [FullTable("f/0", 40, 8), SEMANTIC("f/1", 40, 8)]
    rows = sum(matrix.num_bytes() for part in parts for matrix in {m.name: m for m in part.physical_tables()}.values())
    own = {matrix.name: matrix for matrix in table.physical_tables()}
    assert sum(matrix.num_bytes() for matrix in own.values()) == rows
    assert table.own_bytes() == sum(part.own_bytes() for part in parts) == 40 * 3
