"""Losses against sums written out, whatever the chunks, and their one lookup a step."""

import math
import weakref
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recsys.losses import (
    GBCE,
    BinaryCrossEntropy,
    Catalogue,
    Cosine,
    DotProduct,
    FullCrossEntropy,
    InBatchSampler,
    ItemReader,
    PopularitySampler,
    SampledSoftmax,
    UniformSampler,
)
from recsys.losses.powers import Candidates
from recsys.losses.sampled import Draw
from recsys.losses.samplers import Sampler
from recsys.losses.scoring import unit_length
from recsys.losses.totals import _LogTotals, _SumOfLogTotals, sum_of_losses
from recsys.tables import SGD, Feature, FullTable, NumbaLookup, TableCollection, TorchLookup

NUM_ITEMS, DIM = 11, 3


class Given(Sampler):
    """Negatives that a test has chosen, with chances that it has chosen."""

    def __init__(self, ids, chances=None):
        self.ids, self.chances = ids, chances

    def draw(self, targets, catalogue):
        return self.ids

    def log_probability(self, ids, catalogue):
        return torch.zeros(ids.shape) if self.chances is None else self.chances.log()[ids].float()


class World:
    """A table of item vectors as a parameter, a linear model, and a count of lookups."""

    def __init__(self, num_targets=4, seed=0, scoring=None, counts=None):
        torch.manual_seed(seed)
        self.table = torch.randn(NUM_ITEMS + 1, DIM, requires_grad=True)
        self.mix = torch.randn(DIM, DIM, requires_grad=True)
        self.inputs, self.targets = (torch.randint(1, NUM_ITEMS + 1, (num_targets,)) for _ in range(2))
        self.scoring = scoring or DotProduct()
        self.lookups = []
        self.reader = ItemReader(Catalogue(NUM_ITEMS, counts), self.vectors)

    def vectors(self, ids):
        self.lookups.append(ids)
        return self.table[ids]

    def encode(self, vectors):
        return torch.tanh(vectors @ self.mix)

    def mean(self, loss):
        """The loss over its targets."""
        reading = loss.read(self.reader, self.inputs, self.targets)
        return loss(self.encode(reading.inputs), reading, self.scoring) / max(1, len(self.targets))

    def scores(self):
        """Of all items, written out: [P, V + 1]; column 0 is no item."""
        queries = self.scoring.queries(self.encode(self.table[self.inputs]))
        return queries @ self.scoring.items(self.table).t()

    def gradients(self, loss):
        return torch.autograd.grad(loss, [self.table, self.mix])


def gradients(loss, inputs):
    """Of three times the loss, because a factor of 1 hides mistakes."""
    return torch.autograd.grad(3 * loss, inputs, retain_graph=True)


def full_softmax(world):
    return torch.nn.functional.cross_entropy(world.scores()[:, 1:], world.targets - 1)


@pytest.mark.parametrize("scoring", [DotProduct(), Cosine(0.3)], ids=["dot", "cosine"])
@pytest.mark.parametrize("chunk_items", [1, 4, 10, 11, 100])
def test_full_cross_entropy_is_the_same_in_any_chunks(chunk_items, scoring):
    world = World(scoring=scoring)
    loss, expected = world.mean(FullCrossEntropy(chunk_items)), full_softmax(world)
    assert_close(loss, expected)
    assert_close(world.gradients(loss * 3), world.gradients(expected * 3))


LENGTHS = st.sampled_from([0.5, 4.0, 100.0])
"""Of vectors: scores that are all small, some that may be large, and many whose powers float32 does not hold."""


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 5), LENGTHS, st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_totals_in_blocks(num_queries, num_items, block, length, seed):
    generator = torch.Generator().manual_seed(seed)
    queries, items = (
        (length * torch.randn(n, 3, generator=generator, dtype=torch.float64)).requires_grad_()
        for n in (num_queries, num_items)
    )
    own = torch.randn(num_queries, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(num_queries, generator=generator, dtype=torch.float64)
    scores = queries @ items.t()
    totals, expected_totals = _LogTotals.apply(queries, items, block) @ weights, scores.logsumexp(1) @ weights
    whole = _SumOfLogTotals.apply(queries, items, own, None, None, block)
    expected = torch.cat([scores, own.unsqueeze(1)], dim=1).logsumexp(1).sum()
    for one, other, inputs in ((totals, expected_totals, [queries, items]), (whole, expected, [queries, items, own])):
        assert_close(one, other)
        assert_close(gradients(one, inputs), gradients(other, inputs))


@pytest.mark.parametrize("num_items", [50, 5_200])
@pytest.mark.parametrize("length", [0.5, 100.0])
def test_losses_of_targets_are_cross_entropy(length, num_items):
    """In float32, where scores of 10,000 nats have no powers of their own; in one part and in several."""
    torch.manual_seed(0)
    queries, items = ((length * torch.randn(n, 8)).requires_grad_() for n in (150, num_items))
    targets = torch.randint(num_items, (150,))
    loss = sum_of_losses(queries, items, targets)
    expected = torch.nn.functional.cross_entropy(queries.double() @ items.double().t(), targets, reduction="sum")
    assert_close(loss.double(), expected, rtol=1e-6, atol=1e-6)
    assert_close(
        gradients(loss, [queries, items]), gradients(expected, [queries, items]), rtol=1e-5, atol=1e-5 * length
    )


@pytest.mark.parametrize("width", [1, 5])
def test_unit_length_is_normalize(width):
    torch.manual_seed(0)
    vectors = torch.randn(6, width, dtype=torch.float64)
    vectors[1], vectors[2] = 0.0, 1e-13
    vectors.requires_grad_()
    unit, expected = unit_length(vectors), torch.nn.functional.normalize(vectors, dim=-1)
    weights = torch.randn_like(unit)
    assert_close(unit, expected)
    assert_close(gradients((unit * weights).sum(), [vectors]), gradients((expected * weights).sum(), [vectors]))


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 5), st.integers(1, 8), LENGTHS, st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_target_is_none_of_its_negatives(num_queries, num_negatives, block, num_items, length, seed):
    generator = torch.Generator().manual_seed(seed)
    queries, negatives = (
        (length * torch.randn(n, 3, generator=generator, dtype=torch.float64)).requires_grad_()
        for n in (num_queries, num_negatives)
    )
    targets, drawn = (torch.randint(num_items, (n,), generator=generator) for n in (num_queries, num_negatives))
    # What is drawn twice is one item, with one vector and one chance.
    vectors, offsets = negatives[drawn % num_negatives], torch.randn(num_items, generator=generator).double()
    own = torch.randn(num_queries, generator=generator, dtype=torch.float64, requires_grad=True)
    others = (queries @ vectors.t() - offsets[drawn]).masked_fill(drawn == targets.unsqueeze(1), -torch.inf)
    expected = torch.cat([own.unsqueeze(1), others], dim=1).logsumexp(1).sum()
    log_times, excluded = Draw(targets, drawn, Catalogue(num_items)).distinct()
    candidates = Candidates(log_times - offsets[drawn], excluded)
    actual = _SumOfLogTotals.apply(queries, vectors, own, None, candidates, block)
    inputs, float32 = [queries, negatives, own], {"rtol": 1e-6, "atol": 1e-6}
    assert_close(actual, expected, **float32)
    assert_close(gradients(actual, inputs), gradients(expected, inputs), **float32)


def test_a_catalogue_of_one_chunk_is_read_once_and_a_larger_one_a_chunk_at_a_time():
    world = World()
    world.mean(FullCrossEntropy(NUM_ITEMS))
    assert [len(ids) for ids in world.lookups] == [NUM_ITEMS]
    world = World()
    world.mean(FullCrossEntropy(4)).backward()
    assert all(len(ids) <= 8 for ids in world.lookups), "inputs and targets, then chunks of four"
    assert len(world.lookups) == 7, "each chunk once forward and once backward"


@pytest.mark.parametrize("lookup", [TorchLookup, NumbaLookup])
def test_several_chunks_step_the_rows_of_a_collection_once(lookup):
    """Chunks are read again in the backward pass; rows step afterwards, as if one lookup had read all of them."""
    found, everything = [], torch.arange(NUM_ITEMS + 1).unsqueeze(0)
    for chunk_items in (4, NUM_ITEMS):
        torch.manual_seed(0)
        table = FullTable("item", NUM_ITEMS + 1, DIM)
        items = TableCollection([Feature("item", "item")], {"item": table}, optimizer=SGD(0.5), lookup=lookup)
        world, fresh = World(), items(everything).detach()
        world.reader = ItemReader(Catalogue(NUM_ITEMS), lambda ids, items=items: items(ids.unsqueeze(0))[:, 0])
        world.mean(FullCrossEntropy(chunk_items)).backward()
        items.step()
        found.append(items(everything))
    assert (found[0] - fresh).abs().max() > 0.01
    assert_close(found[0], found[1])


class Peak(TorchDispatchMode):
    """The most bytes that the tensors made while it is on have held at once."""

    def __init__(self):
        super().__init__()
        self.made, self.bytes = [], 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        self.made += [weakref.ref(x) for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        living = [(one, tensor) for one in self.made if (tensor := one()) is not None]
        self.made = [one for one, _ in living]
        stores = {store.data_ptr(): store.nbytes() for store in (tensor.untyped_storage() for _, tensor in living)}
        self.bytes = max(self.bytes, sum(stores.values()))
        return result


@pytest.mark.parametrize("sampled", [False, True])
def test_logits_of_a_block_are_all_that_is_held(sampled):
    num_queries, num_items = 2048, 20_000
    table, targets = torch.randn(num_items + 1, 8).requires_grad_(), torch.randint(1, num_items + 1, (num_queries,))
    reader = ItemReader(Catalogue(num_items), partial(table.index_select, 0))
    loss = SampledSoftmax(Given(torch.arange(1, num_items + 1))) if sampled else FullCrossEntropy()
    with Peak() as peak:
        reading = loss.read(reader, targets, targets)
        loss(reading.inputs, reading, DotProduct()).backward()
    assert 4 * num_items * 8 < peak.bytes < 4 * num_queries * num_items / 10


LOSSES = {
    "full": FullCrossEntropy(),
    "full in chunks": FullCrossEntropy(4),
    "softmax": SampledSoftmax(Given(torch.tensor([3, 7, 3]))),
    "softmax, own negatives": SampledSoftmax(Given(torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]]))),
    "gbce": GBCE(Given(torch.tensor([3, 7, 3]))),
    "bce": BinaryCrossEntropy(Given(torch.tensor([[1], [3], [5], [7]]))),
}


@pytest.mark.parametrize("scoring", [DotProduct(), Cosine(0.3)], ids=["dot", "cosine"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_scores_are_float32_whatever_the_precision_around_them(loss, scoring):
    """Hidden states and vectors of half the bits give the very loss and gradients that they give without autocast."""
    world = World(scoring=scoring)
    world.encode = lambda vectors: vectors.bfloat16() * 1.25
    found = []
    for enabled in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            value = world.mean(loss)
        assert value.dtype == torch.float32
        found.append((value, torch.autograd.grad(value, world.table)))
    assert_close(found[0], found[1], rtol=0, atol=0)
    reading = loss.read(world.reader, world.inputs, world.targets)
    with torch.autocast("cpu", torch.bfloat16):
        name = "negatives" if reading.positives is None else "positives"
        narrow = replace(reading, **{name: getattr(reading, name).bfloat16()})
        assert loss(world.encode(reading.inputs), narrow, scoring).dtype == torch.float32


def test_no_device_is_asked_for_a_value(monkeypatch):
    """A GPU would have to be waited for; a device without values, which knows no autocast, gives no answer at all."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    counts, ids = torch.ones(NUM_ITEMS + 1, device="meta"), torch.ones(4, dtype=torch.int64, device="meta")
    losses = [FullCrossEntropy(), FullCrossEntropy(4)]
    for sampler in (UniformSampler(5), UniformSampler(5, per_target=True), PopularitySampler(5), InBatchSampler()):
        losses += [SampledSoftmax(sampler), GBCE(sampler), BinaryCrossEntropy(sampler)]
    for loss in losses:
        table = torch.empty(NUM_ITEMS + 1, DIM, device="meta", requires_grad=True)
        reading = loss.read(ItemReader(Catalogue(NUM_ITEMS, counts), partial(table.index_select, 0)), ids, ids)
        loss(reading.inputs, reading, Cosine()).backward()
        assert table.grad.shape == table.shape


def test_no_shared_negatives_cost_nothing():
    world = World()
    loss = world.mean(SampledSoftmax(Given(torch.zeros(0, dtype=torch.int64))))
    loss.backward()
    assert loss == 0
    assert not world.table.grad.any()


@pytest.mark.parametrize(
    "loss",
    [FullCrossEntropy(), FullCrossEntropy(3), SampledSoftmax(), GBCE(), BinaryCrossEntropy()],
    ids=lambda loss: type(loss).__name__,
)
def test_a_batch_without_targets_costs_nothing(loss):
    world = World(num_targets=0)
    value = world.mean(loss)
    value.backward()
    assert value == 0
    assert not world.table.grad.any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FullCrossEntropy(0), "chunk_items must be at least 1, got 0"),
        (lambda: GBCE(calibration=1.5), r"calibration must be in \[0, 1\], got 1.5"),
        (lambda: GBCE(calibration=math.nan), r"calibration must be in \[0, 1\], got nan"),
        (lambda: Cosine(0), "temperature must be above 0, got 0"),
        (lambda: Cosine(math.nan), "temperature must be above 0 and finite, got nan"),
        (lambda: Cosine(math.inf), "temperature must be above 0 and finite, got inf"),
        (lambda: PopularitySampler(exponent=math.nan), "exponent must be at least 0 and finite, got nan"),
    ],
)
def test_mistakes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
