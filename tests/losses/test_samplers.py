"""Samplers draw each item as often as they say, evenly spread."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.losses import Catalogue, InBatchSampler, PopularitySampler, UniformSampler

NUM_ITEMS = 11
COUNTS = torch.arange(NUM_ITEMS + 1) ** 2


def draws_of_each(drawn, num_items=NUM_ITEMS):
    return torch.bincount(drawn.reshape(-1), minlength=num_items + 1)


def samplers(num_negatives, per_target, exponent):
    yield PopularitySampler(num_negatives, per_target, exponent)
    if exponent == 0:
        yield UniformSampler(num_negatives, per_target)


@pytest.mark.parametrize("per_target", [False, True])
@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("num_negatives", [1, 3, 200])
def test_samplers_draw_what_they_say(exponent, per_target, num_negatives):
    torch.manual_seed(0)
    catalogue, expected = Catalogue(NUM_ITEMS, COUNTS), COUNTS[1:].double() ** exponent
    for sampler in samplers(num_negatives, per_target, exponent):
        targets = torch.ones(40_000 // num_negatives if per_target else 2, dtype=torch.long)
        drawn = [sampler.draw(targets, catalogue) for _ in range(1 if per_target else 40_000 // num_negatives)]
        assert drawn[0].shape == ((len(targets), num_negatives) if per_target else (num_negatives,))
        times = draws_of_each(torch.cat(drawn))
        assert times[0] == 0
        assert_close(times[1:] / times.sum(), (expected / expected.sum()).float(), atol=0.01, rtol=0)
        chances = sampler.log_probability(torch.arange(1, NUM_ITEMS + 1), catalogue).exp().double()
        assert_close(chances / chances.sum(), expected / expected.sum(), atol=1e-6, rtol=1e-5)


@given(st.integers(1, 60), st.booleans(), st.sampled_from([0.0, 0.5, 1.0]))
def test_no_item_is_drawn_much_more_or_less_often_than_its_share(num_negatives, per_target, exponent):
    expected = COUNTS[1:].double() ** exponent
    for sampler in samplers(num_negatives, per_target, exponent):
        drawn = sampler.draw(torch.tensor([1]), Catalogue(NUM_ITEMS, COUNTS))
        surplus = draws_of_each(drawn)[1:] - num_negatives * expected / expected.sum()
        assert surplus.abs().max() < 2  # the parts of [0, 1) that hold an edge of its share are its own or another's


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_sums_over_the_draws_vary_less_than_of_independent_ones(exponent):
    torch.manual_seed(0)
    chances, score = COUNTS[1:].double() ** exponent, torch.rand(NUM_ITEMS).double()
    chances /= chances.sum()
    independent = (chances * score**2).sum() - (chances * score).sum() ** 2
    for sampler in samplers(8, True, exponent):
        sums = score[sampler.draw(torch.ones(20_000, dtype=torch.int64), Catalogue(NUM_ITEMS, COUNTS)) - 1].sum(1)
        assert_close(sums.mean(), 8 * (chances * score).sum(), rtol=0.01, atol=0)
        assert sums.var() < 0.6 * 8 * independent


@given(st.integers(1, 50), st.integers(1, 3))
def test_as_many_even_draws_as_items_are_every_item_once(num_items, times):
    drawn = UniformSampler(times * num_items).draw(torch.tensor([1]), Catalogue(num_items))
    assert draws_of_each(drawn, num_items)[1:].tolist() == [times] * num_items


def test_the_batch_is_its_own_negatives():
    targets = torch.tensor([3, 1, 3])
    sampler, catalogue = InBatchSampler(), Catalogue(NUM_ITEMS, torch.arange(NUM_ITEMS + 1))
    assert sampler.draw(targets, catalogue) is targets
    assert_close(sampler.log_probability(targets, catalogue).exp(), targets.float())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: UniformSampler(0), "UniformSampler: num_negatives must be at least 1, got 0"),
        (lambda: PopularitySampler(exponent=-1), "exponent must be at least 0, got -1"),
        (lambda: InBatchSampler().log_probability(torch.tensor([1]), Catalogue(3)), "needs the items' training counts"),
    ],
)
def test_mistakes_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
