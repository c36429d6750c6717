"""Ids, hidden states and catalogues given to losses and samplers that cannot be meant, a line each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import tensor

from recsys.losses import (
    GBCE,
    BinaryCrossEntropy,
    Catalogue,
    DotProduct,
    FullCrossEntropy,
    InBatchSampler,
    ItemReader,
    PopularitySampler,
    SampledSoftmax,
    Sampler,
    Scoring,
    UniformSampler,
)

CATALOGUE = Catalogue(4, torch.arange(5))
VECTORS = torch.randn(5, 3)
READER = ItemReader(CATALOGUE, lambda ids: VECTORS[ids])
HIDDEN = torch.randn(2, 3)
LOSSES: dict[str, Callable[[], object]] = {
    "full": FullCrossEntropy,
    "in chunks": lambda: FullCrossEntropy(2),
    "gbce": lambda: GBCE(UniformSampler(2)),
    "bce": BinaryCrossEntropy,
    "softmax": lambda: SampledSoftmax(PopularitySampler(2, per_target=True)),
    "in batch": lambda: SampledSoftmax(InBatchSampler()),
}
CHANGES: dict[str, tuple[dict[str, object], str]] = {
    "a list": ({"targets": [2, 3]}, "targets must be ids of items, .* got list"),
    "floats": ({"targets": tensor([2.0, 3.0])}, r"targets must be ids .* got \[2\] of torch.float32"),
    "beyond": ({"targets": tensor([2, 5])}, r"targets must be in \[1, num_items=4\], got 5"),
    "padding": ({"targets": tensor([2, 0])}, r"targets must be in \[1, num_items=4\], got 0"),
    "rows": ({"targets": tensor([[2, 3]])}, r"targets must be ids .* got \[1, 2\]"),
    "inputs beyond": ({"inputs": tensor([9])}, r"inputs must be in \[1, num_items=4\], got 9"),
    "inputs of numpy": ({"inputs": np.array([1])}, "inputs must be ids .* got ndarray"),
    "a state more": ({"hidden": torch.randn(3, 3)}, r"hidden must be floats \[2, 3\], .* got \[3, 3\]"),
    "wide states": ({"hidden": torch.randn(2, 4)}, r"hidden must be floats \[2, 3\], .* got \[2, 4\]"),
    "padded states": ({"hidden": torch.randn(1, 2, 3)}, r"hidden must be floats .* got \[1, 2, 3\]"),
    "whole states": ({"hidden": HIDDEN.long()}, "hidden must be floats .* torch.int64"),
    "numpy states": ({"hidden": HIDDEN.numpy()}, "hidden must be a Tensor .* ndarray"),
    "a matrix": ({"reader": VECTORS}, "reader must be an ItemReader, got Tensor"),
    "a class": ({"scoring": DotProduct}, "scoring must be a Scoring"),
}


def called(loss, inputs=None, targets=None, hidden=HIDDEN, scoring=None, reader=READER):
    inputs = tensor([1, 2]) if inputs is None else inputs
    reading = loss.read(reader, inputs, tensor([2, 3]) if targets is None else targets)
    return loss(hidden, reading, DotProduct() if scoring is None else scoring)


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("name", LOSSES)
def test_what_no_loss_can_be_of_is_refused(name, case):
    changed, message = CHANGES[case]
    assert called(LOSSES[name]()).isfinite()
    with pytest.raises(ValueError, match=message):
        called(LOSSES[name](), **changed)


CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "no reading": (lambda: GBCE()(HIDDEN, None, DotProduct()), "reading must be what its read.. gave, got NoneType"),
    "swapped": (lambda: GBCE()(GBCE().read(READER, tensor([1]), tensor([2])), HIDDEN, DotProduct()), "got Tensor"),
    "no catalogue": (lambda: ItemReader(4, lambda ids: VECTORS[ids]), "catalogue must be Catalogue, got 4"),
    "targets of a draw": (lambda: UniformSampler(2, True).draw([1, 2], CATALOGUE), "targets must be ids .* got list"),
    "a number of items": (lambda: UniformSampler(2).draw(tensor([1]), 4), "catalogue must be a Catalogue, got int"),
    "a chance of none": (lambda: UniformSampler(2).log_probability(tensor([0]), CATALOGUE), "ids must be in .* got 0"),
    "a chance beyond": (lambda: PopularitySampler(2).log_probability(tensor([7]), CATALOGUE), "ids must be .* got 7"),
    "a chance of floats": (lambda: InBatchSampler().log_probability(tensor([1.0]), CATALOGUE), "ids must be ids"),
    "too many": (
        lambda: UniformSampler(10**13).draw(tensor([1]), CATALOGUE),
        "num_negatives=10000000000000: .* memory",
    ),
    "negative counts": (lambda: Catalogue(2, tensor([0, -1, 2])), "counts must be finite and at least 0, got -1"),
    "NaN counts": (lambda: Catalogue(2, tensor([0, float("nan"), 2])), "counts must be finite"),
    "true counts": (lambda: Catalogue(1, tensor([True, True])), "counts must be real numbers, got torch.bool"),
}


class Drawn(Sampler):
    """Draws what it is told to."""

    def __init__(self, drawn, chances=None):
        self._drawn, self._chances = drawn, chances

    def draw(self, targets, catalogue):
        return self._drawn

    def log_probability(self, ids, catalogue):
        return torch.zeros(ids.shape) if self._chances is None else self._chances


class Maps(Scoring):
    """Scores by any two maps."""

    def __init__(self, of_queries=lambda hidden: hidden, of_items=lambda vectors: vectors):
        self._of_queries, self._of_items = of_queries, of_items

    def queries(self, hidden):
        return self._of_queries(hidden)

    def items(self, vectors):
        return self._of_items(vectors)


DRAWS = {
    "no item": (tensor([0, 1]), r"Drawn: what is drawn must be in \[1, num_items=4\], got 0"),
    "the last but one": (tensor([-1]), r"must be in \[1, num_items=4\], got -1"),
    "an item beyond": (tensor([5]), r"must be in \[1, num_items=4\], got 5"),
    "floats": (tensor([1.0]), "what is drawn must be ids of items"),
    "a list": ([1, 2], "what is drawn must be ids of items, .* got list"),
    "nothing": (None, "what is drawn must be ids of items, .* got NoneType"),
    "of other targets": (tensor([[1, 2, 3]]), r"\[K\] for all targets, or \[2, K\], got \[1, 3\]"),
    "in blocks": (tensor([[[1]], [[2]]]), r"or \[2, K\], got \[2, 1, 1\]"),
}


@pytest.mark.parametrize("case", DRAWS)
@pytest.mark.parametrize("loss", [GBCE, SampledSoftmax])
def test_a_sampler_of_ones_own_draws_items(loss, case):
    drawn, message = DRAWS[case]
    assert called(loss(Drawn(tensor([[1, 2], [3, 4]])))).isfinite()
    with pytest.raises(ValueError, match=message):
        called(loss(Drawn(drawn)))


PARTS: dict[str, tuple[dict[str, object], str]] = {
    "fewer vectors": (
        {"reader": ItemReader(CATALOGUE, lambda ids: VECTORS[ids[1:]])},
        r"give floats \[\d, D\], .* got \[",
    ),
    "no vectors": ({"reader": ItemReader(CATALOGUE, lambda ids: None)}, "vectors must give floats .* got NoneType"),
    "vectors of numpy": ({"reader": ItemReader(CATALOGUE, lambda ids: VECTORS[ids].numpy())}, "got ndarray"),
    "vectors in blocks": ({"reader": ItemReader(CATALOGUE, lambda ids: VECTORS[ids][None])}, r"got \[1, \d, 3\]"),
    "narrow queries": ({"scoring": Maps(lambda hidden: hidden[:, :2])}, "queries and items of one width, got 2 and 3"),
    "no queries": ({"scoring": Maps(lambda hidden: None)}, r"Maps: queries\(\) must give .* got NoneType"),
    "sums of queries": ({"scoring": Maps(lambda hidden: hidden.sum(1))}, r"queries\(\) must give real .* got \[2\]"),
    "fewer items": ({"scoring": Maps(of_items=lambda vectors: vectors[1:])}, r"items\(\) must give real numbers"),
}


@pytest.mark.parametrize("case", PARTS)
@pytest.mark.parametrize("name", LOSSES)
def test_readers_and_scorings_of_ones_own_give_vectors(name, case):
    changed, message = PARTS[case]
    assert called(LOSSES[name](), scoring=Maps()).isfinite()
    with pytest.raises(ValueError, match=message):
        called(LOSSES[name](), **changed)


def test_chances_are_of_each_id():
    with pytest.raises(ValueError, match=r"Drawn: log_probability\(\) must give floats \[2\], .* got \[1\]"):
        called(SampledSoftmax(Drawn(tensor([1, 2]), torch.zeros(1))))


@pytest.mark.parametrize("case", CALLS)
def test_what_cannot_be_meant_is_refused(case):
    call, message = CALLS[case]
    with pytest.raises(ValueError, match=message):
        call()
