"""Sampled losses are the sums of their papers."""

import pytest
import torch
from torch.testing import assert_close

from recsys.losses import GBCE, BinaryCrossEntropy, Catalogue, InBatchSampler, SampledSoftmax
from tests.losses.test_losses import NUM_ITEMS, Given, World

NEGATIVES = {"shared": torch.tensor([3, 7, 3]), "own": torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]])}


def negatives_of(world, drawn):
    """Ids [P, K], and which of them count."""
    ids = drawn.expand(len(world.targets), -1) if drawn.dim() == 1 else drawn
    return ids, ids != world.targets.unsqueeze(1)


@pytest.mark.parametrize("drawn", NEGATIVES.values(), ids=NEGATIVES.keys())
@pytest.mark.parametrize("seed", range(3))
def test_sampled_softmax_is_the_sum_written_out(drawn, seed):
    world = World(seed=seed)
    chances = torch.rand(NUM_ITEMS + 1) + 0.1
    loss = world.mean(SampledSoftmax(Given(drawn, chances)))
    scores, (ids, counts) = world.scores() - chances.log(), negatives_of(world, drawn)
    total = 0
    for row, target in enumerate(world.targets.tolist()):
        others = [scores[row, i].exp() for i, keep in zip(ids[row].tolist(), counts[row], strict=True) if keep]
        total = total - (scores[row, target].exp() / (scores[row, target].exp() + sum(others))).log()
    assert_close(loss, total / len(ids))
    assert_close(world.gradients(loss), world.gradients(total / len(ids)))
    assert len(world.lookups) == 1


@pytest.mark.parametrize("drawn", NEGATIVES.values(), ids=NEGATIVES.keys())
@pytest.mark.parametrize("calibration", [0.0, 0.75, 1.0])
def test_gbce_is_the_papers_formula(drawn, calibration):
    world = World()
    loss = world.mean(GBCE(Given(drawn), calibration))
    scores, (ids, counts) = world.scores().double(), negatives_of(world, drawn)
    num_negatives = ids.shape[1]
    rate = num_negatives / (NUM_ITEMS - 1)
    beta = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    total = 0.0
    for row, target in enumerate(world.targets.tolist()):
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
    loss = World(counts=torch.ones(NUM_ITEMS + 1)).mean(SampledSoftmax(InBatchSampler()))
    assert loss.isfinite()
