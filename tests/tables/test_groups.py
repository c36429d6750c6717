"""Tables that share a group: other settings, what they keep of every id, dtypes and optimisers of their own."""

import copy
from collections.abc import Mapping

import pytest
import torch
from contract import EMBEDDING_DIM, EXAMPLES, Oracle, make
from torch import Tensor
from torch.testing import assert_close

from recsys.checkpoints.consolidated import _state_of_tables
from recsys.checkpoints.table_description import build_collection, describe_collection
from recsys.tables import (
    LRU,
    SGD,
    Adagrad,
    Bag,
    CompactTable,
    Feature,
    Frozen,
    HashTable,
    NumbaLookup,
    PhysicalTable,
    PrunedTable,
    QRTable,
    Table,
    TableCollection,
    TorchLookup,
)
from recsys.tables.base import Constants

OTHER_SETTINGS = {
    "full": {"init_std": 0.5},
    "hash": {"num_rows": 99},
    "hash-3": {"num_rows": 701, "num_lookups": 2},
    "unified": {"num_rows": 50, "num_lookups": 4, "storage": "other"},
    "qr": {"num_remainders": 31},
    "mixed-dim": {"row_dim": 8},
    "hash-embedding": {"num_rows": 50, "num_weights": 30},
    "deep-hash": {"hidden_dim": 9, "num_hashes": 5, "num_hidden": 1},
    "pruned": {"num_rows": 5},
    "head-tail": {"num_head": 40, "num_rows": 50, "storage": "other"},
    "double-hash": {"num_rows": 90, "num_frequent": 7},
    "murmur": {"num_rows": 50, "seed": 3},
    "robe": {"num_rows": 50, "num_chunks": 3, "storage": "other"},
    "robe-signed": {"num_rows": 50, "num_chunks": 2, "signed": True, "storage": "other"},
    "robe-aligned": {"num_rows": 50, "num_chunks": 4, "storage": "other"},
    "tensor-train": {"rank": 3},
    "cce": {"num_clusters": 40_000, "num_chunks": 2, "num_pointers": 7},
    "cce-pointers": {"num_clusters": 30},
    "path-qr": {"num_rows": 99},
    "quantized": {"precisions": ["int4"]},
    "quantized-steps": {"precisions": ["float32", "int8", "int4"], "num_ids": [30, 2_500]},
    "alpt": {"init_std": 0.5},
    "alpt-steps": {"precisions": ["int8", "int4"], "num_ids": [1_000]},
    "mlet": {"inner_dim": 24},
    "dedup": {"num_rows": 40},
    "adaptive": {"num_rows": 50, "hot_fraction": 0.2},
    "codebook": {"num_parts": 6, "num_choices": 300, "codes": torch.arange(12_000).view(6, -1) % 299},
    "dpq": {"num_choices": 5, "num_parts": 2},
    "mgqe": {"num_parts": 3, "num_choices": 40, "num_rare_choices": 10, "num_frequent": 900},
    "cafe": {"num_rows": 90, "interval": 1},
    "managed-lru": {"num_rows": 90, "policy": LRU(), "eviction_interval": 1},
}
"""A sibling of the same class, set otherwise."""


@pytest.mark.parametrize("example", OTHER_SETTINGS)
@pytest.mark.parametrize("lookup", [TorchLookup, NumbaLookup])
def test_siblings_with_other_settings_do_not_disturb(example, lookup):
    kind, _ = EXAMPLES[example]
    tables = {
        "a": make(example, "a"),
        "b": kind("b", 2_000, EMBEDDING_DIM, **OTHER_SETTINGS[example]),
        "c": make(example, "c", 2_500),
    }
    features = [Feature(name, name, pooling) for name in tables for pooling in (None,)]
    features += [Feature(f"bag_{name}", name, "mean") for name in tables]
    collection = TableCollection(features, tables, lookup=lookup)
    ids = torch.randint(0, 2_000, (3, 7))
    lengths = torch.tensor([2, 0, 1, 3, 1, 0, 2])
    bags = {f"bag_{name}": Bag(torch.randint(0, 2_000, (9,)), lengths) for name in tables}
    assert_close(collection(ids, bags), Oracle(collection)(ids, bags).float(), rtol=1e-5, atol=1e-7)


class Scaled(Table):
    """A row times a scale that is in no constant: two tables of unlike scales cannot be one group."""

    def __init__(self, name: str, num_embeddings: int, embedding_dim: int, scale: float = 1.0) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.scale = scale

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        return (PhysicalTable(self.name, self.num_embeddings, self.embedding_dim, 0.1),)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        return ids

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        return rows * self.scale


class Coded(Table):
    """Codes of the id pick rows of an 8-bit matrix that is frozen, beside a scale that is trained."""

    linear = False
    sizes = Table.sizes | {"codes"}

    def __init__(self, name: str, num_embeddings: int, embedding_dim: int, codes: Tensor) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.register_per_id(codes=codes)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        values = PhysicalTable(
            f"{self.name}/values", 16, self.embedding_dim, 0.0, init_mean=3, optimizer=Frozen(), dtype=torch.int8
        )
        scale = PhysicalTable(f"{self.name}/scale", 16, 1, 0.0, init_mean=0.5)
        return (values, scale, values)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        first, second = constants["codes"](ids).unbind(-2)
        return torch.stack([first, first, second], -2)

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        first, scale, second = rows.split([self.embedding_dim, 1, self.embedding_dim], -1)
        codes = constants["codes"](ids.unsqueeze(-1))
        return (first + second) * scale + codes[..., :1] - codes[..., 1:]


def codes_of(num_ids, seed):
    return torch.randint(0, 16, (2, num_ids), generator=torch.Generator().manual_seed(seed)).to(torch.int16)


def coded(lookup=TorchLookup):
    tables = {name: Coded(name, size, 6, codes=codes_of(size, size)) for name, size in {"a": 50, "b": 70}.items()}
    features = [Feature("a", "a"), Feature("b", "b"), Feature("bag", "b", "sum")]
    return TableCollection(features, tables, optimizer=SGD(0.5), lookup=lookup)


def batch():
    ids = torch.tensor([[1, 49, 7], [69, 0, 7]])
    return ids, {"bag": Bag(torch.tensor([5, 5, 69]), torch.tensor([2, 0, 1]))}


def by_hand(collection, name, ids):
    codes = codes_of(*(2 * [collection.table(name).num_embeddings]))[:, ids].long()
    values = collection.lookup.weight(f"{name}/values").float()
    scale = collection.lookup.weight(f"{name}/scale")
    return (values[codes[0]] + values[codes[1]]) * scale[codes[0]] + (codes[0] - codes[1]).unsqueeze(-1)


def test_arguments_are_part_of_the_signature():
    tables = {"a": Scaled("a", 9, 4, scale=5.0), "b": Scaled("b", 9, 4), "c": Scaled("c", 9, 4, scale=5.0)}
    collection = TableCollection([Feature(name, name) for name in tables], tables)
    assert [len(group) for group in collection.groups] == [2, 1]
    vectors = collection(torch.tensor([[3], [3], [3]]))[0]
    for row, scale, name in zip(vectors, (5.0, 1.0, 5.0), tables, strict=True):
        assert_close(row, scale * collection.lookup.weight(name)[3])


@pytest.mark.parametrize("lookup", [TorchLookup, NumbaLookup])
def test_what_is_kept_of_every_id_reaches_route_and_combine_of_a_group(lookup):
    collection = coded(lookup)
    collection.lookup.load_weight("a/scale", torch.rand(16, 1))
    collection.lookup.load_weight("b/values", torch.randint(-128, 128, (16, 6)).to(torch.int8))
    assert [len(group) for group in collection.groups] == [2, 1]
    ids, bags = batch()
    vectors = collection(ids, bags)
    assert_close(vectors[:, 0], by_hand(collection, "a", ids[0]))
    assert_close(vectors[:, 1], by_hand(collection, "b", ids[1]))
    pooled = torch.stack([2 * by_hand(collection, "b", 5), torch.zeros(6), by_hand(collection, "b", 69)])
    assert_close(vectors[:, 2], pooled)


def test_one_table_has_a_frozen_and_a_trained_matrix():
    collection = coded()
    assert collection.lookup.dtype_of("a/values") == torch.int8
    before = {name: collection.lookup.weight(name).clone() for name in collection.lookup.tables}
    assert before["a/values"].unique().tolist() == [3]
    assert before["a/scale"].unique().tolist() == [0.5]
    ids, bags = batch()
    collection(ids, bags).sum().backward()
    collection.step()
    assert torch.equal(before["a/values"], collection.lookup.weight("a/values"))
    assert not torch.equal(before["a/scale"], collection.lookup.weight("a/scale"))
    counted = sum(p.num_bytes() for p in {p.name: p for p in collection.table("a").physical_tables()}.values())
    assert counted == 16 * 6 + 16 * 4
    assert collection.lookup.stored_bytes("a/values") == 16 * 6


def test_integers_must_be_frozen():
    with pytest.raises(ValueError, match=r"physical table 'a': rows of torch\.int8 must be Frozen"):
        PhysicalTable("a", 3, 4, 0.0, dtype=torch.int8)


def test_a_matrix_own_optimizer_yields_to_frozen_alone():
    table = {"a": Coded("a", 50, 6, codes=codes_of(50, 50))}
    features = [Feature("a", "a")]
    trained = TableCollection(features, table, optimizer=Adagrad(0.1))
    assert trained.lookup.optimizer_of("a/values") == Frozen()
    assert trained.lookup.optimizer_of("a/scale") == Adagrad(0.1)
    frozen = TableCollection(features, table, optimizer=Frozen())
    assert frozen.lookup.optimizer_of("a/scale") == Frozen()


def test_columns_of_a_group_are_held_once_and_follow_the_module():
    collection = coded()
    ids, bags = batch()
    expected = collection(ids, bags)
    a, b = (collection.table(name).codes for name in ("a", "b"))
    assert a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
    twin = copy.deepcopy(collection)
    assert_close(twin(ids, bags), expected)
    twin.table("a").codes.zero_()
    assert not torch.equal(twin(ids, bags)[:, 0], expected[:, 0])
    assert_close(collection(ids, bags), expected)
    twin.load_state_dict(collection.state_dict())
    assert_close(twin(ids, bags), expected)
    assert_close(twin.double().float()(ids, bags), expected)


def test_a_table_made_of_a_tensor_is_described_by_its_checksum_and_built_again():
    rows = torch.full((40,), -1)
    rows[[5, 17]] = torch.tensor([1, 0])
    table = {"a": PrunedTable("a", 40, 4, rows=rows), "q": QRTable("q", 40, 4)}
    collection = TableCollection([Feature(name, name) for name in table], table)
    description = describe_collection(collection)
    assert description["tables"]["a"]["arguments"]["rows"].keys() == {"buffer", "shape", "sha256"}
    state = _state_of_tables({f"collection.{key}": value for key, value in collection.state_dict().items()})
    again = build_collection(description, state=state)
    assert again.table("a").rows_of(torch.tensor([5, 6, 17])).tolist() == [[1, -1, 0]]
    assert describe_collection(again)["tables"] == description["tables"]
    with pytest.raises(ValueError, match="table 'a' is made of a tensor 'rows', which is not there"):
        build_collection(description)


def test_what_cannot_be_described_is_said():
    class Odd(HashTable):
        def __init__(self, name, num_embeddings, embedding_dim, odd=None):
            super().__init__(name, num_embeddings, embedding_dim, num_rows=3)

    collection = TableCollection([Feature("a", "a")], {"a": Odd("a", 9, 4, odd=object())})
    with pytest.raises(ValueError, match="Odd 'a': odd of type object cannot be described in a checkpoint"):
        describe_collection(collection)


def test_tables_without_rows_whose_constants_differ_in_size_are_in_one_collection():
    """What pruning to next to nothing leaves: no matrix whose width would tell them apart."""
    tables = {
        name: CompactTable(name, 50, 8, num_rows=0, columns=list(range(width))) for name, width in (("a", 4), ("b", 6))
    }
    for value, table in enumerate(tables.values(), start=1):
        torch.nn.init.constant_(table.common, value)
    collection = TableCollection([Feature(name, name) for name in tables], tables)
    found = collection(torch.tensor([[3, 49], [0, 7]]))
    assert torch.equal(found, torch.tensor([1.0, 2.0]).view(1, 2, 1).expand(2, 2, 8))
