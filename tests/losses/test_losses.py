"""Losses against sums written out, whatever the chunks, and their one lookup a step."""

import weakref
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
    SampledSoftmax,
    Step,
)
from recsys.losses.samplers import Sampler

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

    def __init__(self, num_targets=4, seed=0, scoring=None, updates_in_backward=False, counts=None):
        torch.manual_seed(seed)
        self.table = torch.randn(NUM_ITEMS + 1, DIM, requires_grad=True)
        self.mix = torch.randn(DIM, DIM, requires_grad=True)
        inputs, targets = (torch.randint(1, NUM_ITEMS + 1, (num_targets,)) for _ in range(2))
        self.lookups = []
        self.step = Step(
            inputs=inputs,
            targets=targets,
            vectors=self.vectors,
            encode=lambda vectors: torch.tanh(vectors @ self.mix),
            scoring=scoring or DotProduct(),
            catalogue=Catalogue(NUM_ITEMS, counts),
            updates_in_backward=updates_in_backward,
        )

    def vectors(self, ids):
        self.lookups.append(ids)
        return self.table[ids]

    def scores(self):
        """Of all items, written out: [P, V + 1]; column 0 is no item."""
        scoring = self.step.scoring
        queries = scoring.queries(torch.tanh(self.table[self.step.inputs] @ self.mix))
        return queries @ scoring.items(self.table).t()

    def gradients(self, loss):
        return torch.autograd.grad(loss, [self.table, self.mix])


def full_softmax(world):
    return torch.nn.functional.cross_entropy(world.scores()[:, 1:], world.step.targets - 1)


@pytest.mark.parametrize("scoring", [DotProduct(), Cosine(0.3)], ids=["dot", "cosine"])
@pytest.mark.parametrize("chunk_items", [1, 4, 10, 11, 100])
def test_full_cross_entropy_is_the_same_in_any_chunks(chunk_items, scoring):
    world = World(scoring=scoring)
    loss, expected = FullCrossEntropy(chunk_items)(world.step), full_softmax(world)
    assert_close(loss, expected)
    assert_close(world.gradients(loss * 3), world.gradients(expected * 3))


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_linear_cross_entropy_in_blocks(num_queries, num_items, block, seed):
    from recsys.losses.full import _LinearCrossEntropy, _LogTotals

    generator = torch.Generator().manual_seed(seed)
    queries, items = (
        (4 * torch.randn(n, 3, generator=generator, dtype=torch.float64)).requires_grad_()
        for n in (num_queries, num_items)
    )
    targets = torch.randint(0, num_items, (num_queries,), generator=generator)
    expected = torch.nn.functional.cross_entropy(queries @ items.t(), targets, reduction="sum")
    actual = _LinearCrossEntropy.apply(queries, items, targets, block)
    weights = torch.rand(num_queries, generator=generator, dtype=torch.float64)
    totals = _LogTotals.apply(queries, items, block) @ weights
    expected_totals = (queries @ items.t()).logsumexp(1) @ weights
    for one, other in ((actual, expected), (totals, expected_totals)):
        assert_close(one, other)
        assert_close(torch.autograd.grad(one, [queries, items]), torch.autograd.grad(other, [queries, items]))


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 5), st.integers(1, 8), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_shared_cross_entropy_in_blocks(num_queries, num_negatives, block, num_items, seed):
    from recsys.losses.shared_negatives import _SharedCrossEntropy, hits_among

    generator = torch.Generator().manual_seed(seed)
    queries, wanted, negatives = (
        (4 * torch.randn(n, 3, generator=generator, dtype=torch.float64)).requires_grad_()
        for n in (num_queries, num_queries, num_negatives)
    )
    targets, drawn = (torch.randint(num_items, (n,), generator=generator) for n in (num_queries, num_negatives))
    offsets = tuple(torch.randn(n, generator=generator, dtype=torch.float64) for n in (num_queries, num_negatives))
    own = (queries * wanted).sum(1) - offsets[0]
    others = (queries @ negatives.t() - offsets[1]).masked_fill(drawn == targets.unsqueeze(1), -torch.inf)
    expected = (torch.cat([own.unsqueeze(1), others], dim=1).logsumexp(1) - own).sum()
    actual = _SharedCrossEntropy.apply(queries, wanted, negatives, offsets, hits_among(drawn, targets), block)
    assert_close(actual, expected)
    vectors = [queries, wanted, negatives]
    assert_close(torch.autograd.grad(3 * actual, vectors), torch.autograd.grad(3 * expected, vectors))


def test_a_catalogue_of_one_chunk_is_read_once_and_a_larger_one_a_chunk_at_a_time():
    world = World()
    FullCrossEntropy(NUM_ITEMS)(world.step)
    assert [len(ids) for ids in world.lookups] == [NUM_ITEMS]
    world = World()
    FullCrossEntropy(4)(world.step).backward()
    assert all(len(ids) <= 8 for ids in world.lookups), "inputs and targets, then chunks of four"
    assert len(world.lookups) == 7, "each chunk once forward and once backward"


def test_several_chunks_refuse_rows_that_change_in_the_backward_pass():
    with pytest.raises(ValueError, match="11 items in chunks of chunk_items=4 need table_optimizer: DenseGradient"):
        FullCrossEntropy(4)(World(updates_in_backward=True).step)


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
    read = partial(table.index_select, 0)
    step = Step(targets, targets, read, lambda vectors: vectors, DotProduct(), Catalogue(num_items))
    loss = SampledSoftmax(Given(torch.arange(1, num_items + 1))) if sampled else FullCrossEntropy()
    with Peak() as peak:
        loss(step).backward()
    assert 4 * num_items * 8 < peak.bytes < 4 * num_queries * num_items / 10


def test_shared_negatives_are_scored_in_float32_whatever_the_precision_around_them():
    world, drawn = World(), torch.tensor([3, 7, 3])
    world.step = replace(world.step, encode=lambda vectors: torch.tanh(vectors @ world.mix).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        loss = SampledSoftmax(Given(drawn))(world.step)
        queries = world.step.encode(world.table[world.step.inputs]).float()
    scores = queries @ world.table.t()
    ids, counts = negatives_of(world, drawn)
    others = scores.gather(1, ids).masked_fill(~counts, -torch.inf)
    own = scores.gather(1, world.step.targets.unsqueeze(1))
    assert loss.dtype == torch.float32
    assert_close(loss, (torch.cat([own, others], dim=1).logsumexp(1) - own.squeeze(1)).mean())


def test_no_shared_negatives_cost_nothing():
    world = World()
    loss = SampledSoftmax(Given(torch.zeros(0, dtype=torch.int64)))(world.step)
    loss.backward()
    assert loss == 0
    assert not world.table.grad.any()


NEGATIVES = {"shared": torch.tensor([3, 7, 3]), "own": torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]])}


def negatives_of(world, drawn):
    """Ids [P, K], and which of them count."""
    ids = drawn.expand(len(world.step.targets), -1) if drawn.dim() == 1 else drawn
    return ids, ids != world.step.targets.unsqueeze(1)


@pytest.mark.parametrize("drawn", NEGATIVES.values(), ids=NEGATIVES.keys())
@pytest.mark.parametrize("seed", range(3))
def test_sampled_softmax_is_the_sum_written_out(drawn, seed):
    world = World(seed=seed)
    chances = torch.rand(NUM_ITEMS + 1) + 0.1
    loss = SampledSoftmax(Given(drawn, chances))(world.step)
    scores, (ids, counts) = world.scores() - chances.log(), negatives_of(world, drawn)
    total = 0
    for row, target in enumerate(world.step.targets.tolist()):
        others = [scores[row, i].exp() for i, keep in zip(ids[row].tolist(), counts[row], strict=True) if keep]
        total = total - (scores[row, target].exp() / (scores[row, target].exp() + sum(others))).log()
    assert_close(loss, total / len(ids))
    assert_close(world.gradients(loss), world.gradients(total / len(ids)))
    assert len(world.lookups) == 1
    assert len(world.lookups[0].unique()) == len(world.lookups[0])


@pytest.mark.parametrize("drawn", NEGATIVES.values(), ids=NEGATIVES.keys())
@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_gbce_is_the_papers_formula(drawn, calibration):
    world = World()
    loss = GBCE(Given(drawn), calibration)(world.step)
    scores, (ids, counts) = world.scores().double(), negatives_of(world, drawn)
    num_negatives = ids.shape[1]
    rate = num_negatives / (NUM_ITEMS - 1)
    beta = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    total = 0.0
    for row, target in enumerate(world.step.targets.tolist()):
        transformed = torch.log(1 / (torch.sigmoid(scores[row, target]) ** -beta - 1))
        total += torch.sigmoid(transformed).log()
        for i, keep in zip(ids[row].tolist(), counts[row], strict=True):
            total += torch.log(1 - torch.sigmoid(scores[row, i])) if keep else 0.0
    assert_close(loss.double(), -total / (len(ids) * (num_negatives + 1)), rtol=1e-5, atol=1e-6)
    assert len(world.lookups) == 1


def test_binary_cross_entropy_is_uncalibrated_with_one_negative_each():
    loss = BinaryCrossEntropy()
    assert loss.beta(1, 100) == pytest.approx(1.0)
    assert loss.sampler.draw(torch.tensor([1, 2, 3]), Catalogue(5)).shape == (3, 1)
    assert GBCE(calibration=1.0).beta(10, 101) == pytest.approx(0.1)
    assert GBCE(calibration=0.75).beta(0, 100) == pytest.approx(0.25)  # a process without targets draws no negatives


def test_the_batch_can_be_its_own_negatives():
    loss = SampledSoftmax(InBatchSampler())(World(counts=torch.ones(NUM_ITEMS + 1)).step)
    assert loss.isfinite()


@pytest.mark.parametrize(
    "loss",
    [FullCrossEntropy(), FullCrossEntropy(3), SampledSoftmax(), GBCE(), BinaryCrossEntropy()],
    ids=lambda loss: type(loss).__name__,
)
def test_a_batch_without_targets_costs_nothing(loss):
    world = World(num_targets=0)
    value = loss(world.step)
    value.backward()
    assert value == 0
    assert not world.table.grad.any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FullCrossEntropy(0), "chunk_items must be at least 1, got 0"),
        (lambda: GBCE(calibration=1.5), r"calibration must be in \[0, 1\], got 1.5"),
        (lambda: Cosine(0), "temperature must be above 0, got 0"),
    ],
)
def test_mistakes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
