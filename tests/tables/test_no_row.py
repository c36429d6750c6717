"""Row -1 is no row: zeros out, nothing touched in the backward pass, in every store."""

import pytest
import torch
from torch.testing import assert_close

from recsys.tables import (
    SGD,
    Adagrad,
    Adam,
    Bag,
    DenseGradient,
    Embedding,
    FbgemmLookup,
    Feature,
    Frozen,
    NumbaLookup,
    PrunedTable,
    RowWiseAdagrad,
    TableCollection,
    TorchLookup,
)

V, D, KEPT = 40, 8, 10
LOOKUPS = [TorchLookup, NumbaLookup, FbgemmLookup]
OPTIMIZERS = [SGD(0.2), Adagrad(0.1), RowWiseAdagrad(0.1, weight_decay=0.5), Adam(0.1), DenseGradient(), Frozen()]


@pytest.mark.parametrize("lookup", LOOKUPS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("all_absent", [True, False])
def test_no_row_reads_zeros_and_touches_nothing(lookup, optimizer, all_absent):
    tables = {name: PrunedTable(name, V, D, num_rows=KEPT) for name in ("a", "bag")}
    features = [Feature("a", "a"), Feature("bag", "bag", "sum")]
    collection = TableCollection(features, tables, optimizer=optimizer, lookup=lookup)
    ids = torch.tensor([[KEPT, V - 1, KEPT + 3]])
    bag = Bag(torch.tensor([KEPT + 1, V - 1]), torch.tensor([1, 0, 1]))
    if not all_absent:
        ids[0, 0], bag.values[0] = 3, 4
    parameters = list(collection.parameters())
    dense = torch.optim.SGD(parameters, lr=0.2) if parameters else None
    for _ in range(2):  # a spare row must not remember the first step
        before = {n: {k: v.clone() for k, v in collection.lookup.tensors(n).items()} for n in tables}
        vectors = collection(ids, {"bag": bag})
        assert_close(vectors[1:, 0], torch.zeros(2, D))
        assert_close(vectors[1:, 1], torch.zeros(2, D))
        if vectors.requires_grad:
            (vectors + 1).square().sum().backward()
        if dense is not None:
            dense.step()
            dense.zero_grad()
        for name, row in (("a", 3), ("bag", 4)):
            for kind, values in collection.lookup.tensors(name).items():
                moved = (values != before[name][kind]).any(1)
                expected = not all_absent and not isinstance(optimizer, Frozen)
                assert moved.nonzero().flatten().tolist() == ([row] if expected else []), kind


def test_the_drop_in_touches_nothing_with_sparse_gradients():
    embedding = Embedding(PrunedTable("a", V, D, num_rows=KEPT), sparse=True)
    optimizer = torch.optim.SparseAdam(embedding.parameters(), lr=0.1)
    before = embedding.weights[0].clone()
    embedding(torch.tensor([0, 3])).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    middle = embedding.weights[0].clone()
    assert (middle != before).any(1).nonzero().flatten().tolist() == [0, 3]
    vectors = embedding(torch.tensor([KEPT, 3]))
    vectors.sum().backward()
    optimizer.step()
    assert_close(vectors[0], torch.zeros(D))
    assert (embedding.weights[0] != middle).any(1).nonzero().flatten().tolist() == [3]


def test_rows_may_be_given_and_are_counted():
    rows = torch.full((V,), -1)
    rows[[5, 17, 30]] = torch.tensor([2, 0, 1])
    table = PrunedTable("a", V, D, rows=rows)
    assert table.rows_of(torch.tensor([5, 6, 17, 30])).tolist() == [[2, -1, 0, 1]]
    assert table.physical_tables()[0].num_rows == 3
    assert table.own_bytes() == 4 * V
    assert table.expected_collisions() == V - 3 - 1
    for wrong in (rows * 2, torch.full((V,), -1), rows - 1):
        with pytest.raises(ValueError, match="rows must be -1 or numbers from 0 without gaps"):
            PrunedTable("a", V, D, rows=wrong)
    with pytest.raises(ValueError, match=r"each of num_embeddings=40 ids, got \[39\]"):
        PrunedTable("a", V, D, rows=rows[1:])
