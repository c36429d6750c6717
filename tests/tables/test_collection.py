"""The collection and the drop-in: sharing, order, bad input, checkpoints."""

import pytest
import torch
from torch.testing import assert_close

from recsys.checkpoints.table_description import build_collection, describe_collection
from recsys.tables import (
    SGD,
    Adagrad,
    Bag,
    DenseGradient,
    Embedding,
    FbgemmLookup,
    Feature,
    Frozen,
    FullTable,
    HashTable,
    NumbaLookup,
    QRTable,
    TableCollection,
    TorchLookup,
    UnifiedTable,
)

every_lookup = pytest.mark.parametrize("lookup", [TorchLookup, NumbaLookup, FbgemmLookup])


@every_lookup
def test_two_features_share_one_table(lookup):
    features = [Feature("watched", "item", "sum"), Feature("candidate", "item")]
    collection = TableCollection(features, {"item": FullTable("item", 50, 8)}, optimizer=SGD(1.0), lookup=lookup)
    before = collection.lookup.weight("item").clone()
    bags = {"watched": Bag(torch.tensor([3, 3, 7]), torch.tensor([2, 1]))}
    embedded = collection(torch.tensor([[7, 9]]), bags)
    assert_close(embedded[0, 0], 2 * before[3])
    assert_close(embedded[:, 1], before[[7, 9]])
    embedded.sum().backward()
    collection.step()
    moved = (before - collection.lookup.weight("item"))[:, 0]
    assert_close(moved[[3, 7, 9, 1]], torch.tensor([2.0, 2.0, 1.0, 0.0]))


@every_lookup
def test_mixed_methods_come_out_in_feature_order(lookup):
    tables = {
        "items": FullTable("items", 90, 8),
        "b": HashTable("b", 90, 8, num_rows=40),
        "type": FullTable("type", 90, 8),
        "d": UnifiedTable("d", 90, 8, num_rows=64),
        "e": QRTable("e", 90, 8),
        "f": UnifiedTable("f", 90, 8, num_rows=64),
    }
    pooling = {"b": "mean", "e": "sum"}
    collection = TableCollection([Feature(n, n, pooling.get(n)) for n in tables], tables, lookup=lookup)
    ids = torch.randint(0, 90, (4, 3))
    bags = {name: Bag(torch.tensor([1, 5, 8]), torch.tensor([1, 1, 1])) for name in pooling}
    embedded = collection(ids, bags)
    columns = iter(ids)
    for position, (name, table) in enumerate(tables.items()):
        own_ids = bags[name].values if name in bags else next(columns)
        alone = TableCollection([Feature(name, name)], {name: table}, lookup=lookup)
        assert_close(embedded[:, position], alone(own_ids.unsqueeze(0))[:, 0])


def test_fractions_of_one_matrix_add_up_over_the_features():
    tables = {n: UnifiedTable(n, v, 8, budget_fraction=0.1) for n, v in {"a": 900, "b": 100}.items()}
    tables |= {"own": UnifiedTable("own", 300, 8, budget_fraction=0.2, storage="own"), "full": FullTable("full", 50, 8)}
    collection = TableCollection([Feature(name, name) for name in tables], tables)
    rows = {name: physical.num_rows for name, physical in collection.lookup.tables.items()}
    assert rows == {"unified": 200, "own": 120, "full": 50}, "rows of half the width: twice a tenth, twice a fifth"
    assert collection.table("b").constants()["num_buckets"].tolist() == [200, 200]
    assert tables["b"].num_rows == 20, "what is passed in stays as it was"
    assert build_collection(describe_collection(collection)).lookup.tables == collection.lookup.tables


@every_lookup
def test_each_table_may_have_its_own_optimizer(lookup):
    tables = {name: FullTable(name, 20, 8) for name in "abcd"}
    optimizers = {"a": SGD(0.5), "b": Frozen(), "c": DenseGradient(), "d": Adagrad(0.1)}
    collection = TableCollection([Feature(n, n) for n in tables], tables, optimizer=optimizers, lookup=lookup)
    before = {name: collection.lookup.weight(name).clone() for name in tables}
    collection(torch.full((4, 3), 2)).sum().backward()
    collection.step()
    moved = {name: (collection.lookup.weight(name) - before[name])[2].abs().sum().item() > 0 for name in tables}
    assert moved == {"a": True, "b": False, "c": False, "d": True}
    group, handle = collection.param_groups()
    assert [parameter.numel() for parameter in handle["params"]] == [1]
    assert group["params"][0].grad[2].tolist() == [3.0] * 8


@every_lookup
def test_the_learning_rate_factor_scales_the_step(lookup):
    steps = []
    for factor in (1.0, 0.25):
        collection = TableCollection(
            [Feature("a", "a")], {"a": FullTable("a", 20, 8)}, optimizer=SGD(0.5), lookup=lookup
        )
        before = collection.lookup.weight("a").clone()
        collection(torch.tensor([[2]])).sum().backward()
        collection.step(learning_rate_factor=factor)
        steps.append((before - collection.lookup.weight("a"))[2])
    assert_close(steps[1], 0.25 * steps[0])


@every_lookup
def test_pretrained_rows(lookup):
    collection = TableCollection([Feature("a", "a")], {"a": FullTable("a", 5, 6)}, lookup=lookup)
    rows = torch.randn(5, 6)
    collection.lookup.load_weight("a", rows)
    assert_close(collection(torch.tensor([[4, 0]]))[:, 0], rows[[4, 0]])
    with pytest.raises(ValueError, match=r"must have shape \(5, 6\), got \(5, 7\)"):
        collection.lookup.load_weight("a", torch.randn(5, 7))


@every_lookup
def test_a_checkpoint_of_other_sizes_is_refused_by_name(lookup):
    small = TableCollection([Feature("a", "a")], {"a": FullTable("a", 5, 8)}, lookup=lookup)
    large = TableCollection([Feature("a", "a")], {"a": FullTable("a", 6, 8)}, lookup=lookup)
    with pytest.raises(
        RuntimeError, match=r"physical table 'a': weight has shape \(5, 8\) in the checkpoint and \(6, 8\)"
    ):
        large.load_state_dict(small.state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        TableCollection([Feature("b", "b")], {"b": FullTable("b", 5, 8)}, lookup=lookup).load_state_dict(
            small.state_dict()
        )


def test_ids_beyond_a_fused_table_are_an_error():
    collection = TableCollection([Feature("a", "a")], {"a": FullTable("a", 5, 8)}, lookup=FbgemmLookup)
    with pytest.raises(ValueError, match=r"feature 'a': ids must be in \[0, num_embeddings=5\), got 5"):
        collection(torch.tensor([[5]]))


TABLES = {"large": FullTable("large", 5, 8)}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: TableCollection([Feature("C27", "lagre")], TABLES),
            r"'lagre'.*did you mean 'large'\? \(tables: large\)",
        ),
        (lambda: TableCollection([], TABLES), "features must not be empty"),
        (lambda: TableCollection([Feature("a", "large")] * 2, TABLES), r"\['a'\] are given more than once"),
        (lambda: TableCollection([Feature("a", "large")], {**TABLES, "b": FullTable("b", 5, 8)}), "used by no feature"),
        (
            lambda: TableCollection([Feature("a", "large"), Feature("b", "b")], {**TABLES, "b": FullTable("b", 5, 4)}),
            "one embedding_dim",
        ),
        (
            lambda: TableCollection(
                [Feature("a", "a"), Feature("b", "b")],
                {"a": UnifiedTable("a", 5, 8, num_rows=7), "b": UnifiedTable("b", 5, 8, num_rows=9)},
            ),
            r"share physical table 'unified' but declare \(7 rows x 4.* and \(9 rows x 4",
        ),
        (lambda: TableCollection([Feature("a", "large")], TABLES)(torch.zeros(2, 3, dtype=torch.long)), "one row per"),
        (lambda: TableCollection([Feature("a", "large")], TABLES)([[1, 2]]), "one row per .*, got list"),
        (
            lambda: TableCollection([Feature("a", "large", "sum")], TABLES)(torch.zeros(0, 3, dtype=torch.long)),
            r"bags lack the multi-valued features \['a'\]",
        ),
        (lambda: Feature("a", "large", "max"), "pooling must be one of sum, mean, sequence or None, got 'max'"),
        (lambda: SGD(-1.0), "SGD: learning_rate must be a number of at least 0, got -1.0"),
        (lambda: SGD(None), "SGD: learning_rate must be a number of at least 0, got None"),
        (lambda: Embedding(FullTable("a", 5, 8))(torch.tensor([5])), r"ids must be in \[0, num_embeddings=5\), got 5"),
        (lambda: Embedding(HashTable("a", 5, 8, num_rows=2))(torch.tensor([-1])), "got -1"),
        (lambda: Embedding(FullTable("a", 5, 8), padding_idx=5), r"padding_idx must be in \[-5, 4\], got 5"),
    ],
)
def test_a_mistake_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_padding_idx_gives_zeros_and_no_gradient():
    embedding = Embedding(FullTable("a", 5, 8), padding_idx=0)
    vectors = embedding(torch.tensor([[0, 1]]))
    vectors.sum().backward()
    assert vectors[0, 0].abs().sum() == 0
    assert embedding.weights[0].grad[0].abs().sum() == 0
    assert embedding.weights[0].grad[1].abs().sum() > 0


def test_the_drop_in_trains_with_a_sparse_optimizer():
    embedding = Embedding(HashTable("a", 500, 8, num_rows=50), sparse=True)
    optimizer = torch.optim.SparseAdam(embedding.parameters(), lr=0.1)
    before = embedding(torch.tensor([7])).detach()
    embedding(torch.tensor([7])).sum().backward()
    optimizer.step()
    assert_close(embedding(torch.tensor([7])).detach(), before - 0.1)
