"""Calls with ids, bags and vectors that cannot be meant, a line each, and what the sentence must name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn, tensor

from recsys.tables import (
    SGD,
    AdaptiveTable,
    Bag,
    ContentTable,
    Embedding,
    EmbeddingBag,
    Feature,
    FullTable,
    HashTable,
    KeyedCollection,
    PEPTable,
    QRTable,
    SemanticIdTable,
    SwapRule,
    TableCollection,
    TiedHead,
    hot_rows,
    swap_,
)

NAN = float("nan")
HASH = Embedding(HashTable("f", 20, 4, num_rows=5))
BAGS = {
    "hashed": lambda **options: EmbeddingBag(HashTable("f", 20, 4, num_rows=5), **options),
    "full": lambda **options: EmbeddingBag(FullTable("f", 20, 4), **options),
}


def collection(**options):
    tables = {"a": FullTable("a", 20, 4), "b": FullTable("b", 20, 4)}
    return TableCollection([Feature("a", "a"), Feature("b", "b", "sum")], tables, **options)


def bag(values, lengths, weights=None):
    return collection()(tensor([[1, 2, 3]]), {"b": Bag(values, lengths, weights)})


def swapped(make):
    return swap_(nn.Sequential(nn.Embedding(30, 4)), [SwapRule(make)])


IDS, FLOATS, TWO = tensor([1, 2]), tensor([1.0, 2.0]), tensor([1, 1, 0])
CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "a list": (lambda: HASH([1, 2]), "ids must be a Tensor of integers, got list"),
    "an array": (lambda: HASH.vectors(np.ones(2, int)), "ids must be a Tensor of integers, got ndarray"),
    "nothing": (lambda: HASH(None), "ids must be a Tensor of integers, got NoneType"),
    "vectors in a list": (lambda: HASH.fit_([[1.0]]), "weight must be a Tensor of floating-point numbers, got list"),
    "whole vectors": (lambda: HASH.fit_(torch.ones(20, 4).long()), "numbers, got torch.int64 on cpu"),
    "complex vectors": (lambda: HASH.fit_(torch.ones(20, 4) + 0j), "numbers, got torch.complex64 on cpu"),
    "no vectors": (lambda: HASH.fit_(torch.ones(20, 4, device="meta")), "numbers, got torch.float32 on meta"),
    "a given list": (
        lambda: Embedding.from_pretrained([[1.0]], HASH.table),
        "weight must be a Tensor of floating-point",
    ),
    "whole numbers": (
        lambda: Embedding(HASH.table, dtype=torch.int64),
        "dtype must be of floating-point numbers, one of .*, got torch.int64",
    ),
    "bags in a list": (lambda: collection()(IDS[None], [Bag(IDS, TWO)]), "bags must map multi-valued features to Bags"),
    "a bag of nobody": (
        lambda: collection()(tensor([[1, 2, 3]]), {"c": Bag(IDS, TWO), "b": Bag(IDS, TWO)}),
        r"bags are given of \['c'\], which are no multi-valued features; those are \['b'\]",
    ),
    "a bag of a single": (
        lambda: collection()(tensor([[1, 2, 3]]), {"a": Bag(IDS, TWO), "b": Bag(IDS, TWO)}),
        r"bags are given of \['a'\]",
    ),
    "no bag": (lambda: collection()(tensor([[1, 2, 3]]), {"b": IDS}), "'b': its ids must be a Bag of tensors"),
    "lists in a bag": (lambda: bag([1, 2], [1, 1, 0]), "Bag: values must be a Tensor, got list"),
    "a bag of rows": (lambda: bag(IDS[None], TWO), "its ids must be a Bag of tensors of one dimension"),
    "rows of lengths": (lambda: bag(IDS, TWO[None]), "its ids must be a Bag of tensors of one dimension"),
    "rows of weights": (lambda: bag(IDS, TWO, FLOATS[None]), "its ids must be a Bag of tensors of one dimension"),
    "float lengths": (lambda: bag(IDS, TWO.float()), "lengths must be integers, got torch.float32"),
    "true lengths": (lambda: bag(IDS, TWO.bool()), "lengths must be integers, got torch.bool"),
    "ids in a list": (lambda: collection()([[1]]), r"ids must be a Tensor \[F1=1, B\], .*, got list"),
    "whole rows": (
        lambda: collection(dtype=torch.int64),
        "dtype must be of floating-point numbers, .* got torch.int64",
    ),
    "a module": (
        lambda: TableCollection([Feature("a", "a")], {"a": nn.Linear(1, 1)}),
        r"tables must be a mapping of str to Table, got Linear\(.*\) at 'a'",
    ),
    "a number's name": (
        lambda: TableCollection([Feature("a", "a")], {3: FullTable("a", 9, 4)}),
        "to Table, got .* at 3",
    ),
    "a dot": (lambda: TableCollection([Feature("a", "a.b")], {"a.b": FullTable("a", 9, 4)}), "without '.', got 'a.b'"),
    "a class": (lambda: collection(optimizer={"a": SGD}), "mapping of str to TableOptimizer or None, got .* at 'a'"),
    "a strange name": (lambda: collection(optimizer={3: SGD(0.1)}), "to TableOptimizer or None, got .* at 3"),
    "no collection": (lambda: KeyedCollection(HASH), "KeyedCollection: collection must be TableCollection, got"),
    "no table": (lambda: swapped(lambda *_, **__: 3), "swap_: the rule of '0': <lambda> must make a Table, got 3"),
    "more ids": (lambda: swapped(lambda n, v, d: FullTable(n, v + 1, d)), "must make a table of 30 x 4, .* got 31 x 4"),
    "wider": (lambda: swapped(lambda n, v, d: QRTable(n, v, d + 1)), "must make a table of 30 x 4, .* got 30 x 5"),
    "counts below 0": (lambda: hot_rows(tensor([-1, 2]), 1), r"counts must be numbers \[V\] of at least 0"),
    "counts of NaN": (lambda: hot_rows(tensor([NAN, 2]), 1), r"counts must be numbers \[V\] of at least 0"),
    "counts in rows": (lambda: hot_rows(tensor([[1, 2]]), 1), r"counts must be numbers \[V\] of at least 0"),
    "halves of rows": (
        lambda: AdaptiveTable("f", 2, 4, num_rows=3, rows=tensor([0.5, 1.2])),
        r"rows must be whole numbers \[V\], got \[2\] of torch.float32",
    ),
    "codes below -1": (
        lambda: SemanticIdTable("f", 20, 4, codes=torch.full((2, 20), -3), num_rows=5),
        "codes must be at least 0, or -1 where one is missing, got -3",
    ),
    "content of NaN": (
        lambda: ContentTable("f", 20, 4, vectors=torch.full((20, 8), NAN)),
        "ContentTable 'f': vectors must be finite numbers of float32",
    ),
    "a threshold of nothing": (
        lambda: PEPTable("f", 20, 4, init_std=0.0),
        r"init_threshold \* init_std must be in \(0, 1\), got 0.1 \* 0.0",
    ),
    "half a character": (lambda: FullTable("\ud800", 9, 4), "valid UTF-8, got"),
    "an optimizer of another model": (
        lambda: swap_(
            nn.Sequential(nn.Embedding(30, 4)),
            [SwapRule(QRTable)],
            optimizers=[torch.optim.SGD(nn.Linear(2, 2).parameters())],
        ),
        "SGD holds no parameter of the model",
    ),
    "counts without an order": (lambda: hot_rows(torch.ones(9, dtype=torch.uint64), 2), "hot_rows: counts .* unsigned"),
    "a device that no number names": (lambda: Embedding(QRTable("f", 9, 4), device=2**63), "device must be one"),
    "hidden states on meta": (lambda: TiedHead(HASH)(torch.ones(2, 4, device="meta")), "hidden .* one on 'meta'"),
    "nested hidden states": (
        lambda: TiedHead(HASH)(torch.nested.nested_tensor([torch.ones(2, 4)])),
        "hidden .* a nested tensor",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_call_that_cannot_be_meant_is_refused(case):
    call, message = CALLS[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("moved", [tensor([1, 2]).to_sparse(), tensor([1, 2], device="meta")])
def test_what_a_checkpoint_keeps_must_have_values(moved):
    with pytest.raises(RuntimeError, match="HashTable 'f': seed must be an ordinary tensor with values, got "):
        HASH.table.load_state_dict({"seed": moved}, strict=False)


OFFSETS = [
    (tensor([0, 2, 1]), r"never fall and be at most 3, the number of ids, got \[0, 2, 1\]"),
    (tensor([1, 2]), r"offsets must begin with 0, .*, got \[1, 2\]"),
    (tensor([0, 9]), r"be at most 3, the number of ids, got \[0, 9\]"),
    (tensor([0, -1]), "never fall"),
    (tensor([0.0, 1.0]), r"offsets must be a Tensor \[B\] of integers, got \[2\] of torch.float32"),
    (tensor([[0, 1]]), r"integers, got \[1, 2\] of torch.int64"),
    ([0, 1], "integers, got list"),
    (tensor([0, 2], device="meta"), "offsets must be on 'cpu', as ids are, got 'meta'"),
    (tensor([0, 2]).to_sparse(), "offsets .* sparse"),
]

WEIGHTS = [
    (torch.ones(3, device="meta"), "per_sample_weights must be on 'cpu', as ids are, got 'meta'"),
    (torch.ones(3).to_sparse(), "per_sample_weights .* sparse"),
    (torch.nested.nested_tensor([torch.ones(2), torch.ones(1)]), "per_sample_weights .* nested"),
]


@pytest.mark.parametrize("kind", BAGS)
def test_places_where_no_bag_can_begin_are_refused(kind):
    """nn.EmbeddingBag takes falling offsets, and gives bags that nobody asked for."""
    ids, pooled = tensor([1, 2, 3]), BAGS[kind](mode="sum")
    for offsets, message in OFFSETS:
        with pytest.raises(ValueError, match=f"EmbeddingBag 'f': .*{message}"):
            pooled(ids, offsets)
    with pytest.raises(ValueError, match=r"never fall and end with 3, the number of ids, got \[0, 1\]"):
        BAGS[kind](include_last_offset=True)(ids, tensor([0, 1]))
    for weights, message in WEIGHTS:
        with pytest.raises(ValueError, match=f"EmbeddingBag 'f': .*{message}"):
            pooled(ids, tensor([0]), weights)
    with pytest.raises(ValueError, match="per_sample_weights must be a Tensor like ids, got list"):
        pooled(ids, tensor([0]), [1.0, 2.0, 3.0])
    assert pooled(ids, tensor([0, 0, 3]), tensor([1, 2, 3])).shape == (3, 4)
    assert pooled(ids[:0], tensor([0, 0], dtype=torch.int32)).eq(0).all()
