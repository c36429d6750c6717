"""Attention with dropout, written out for CPUs, equals torch's in everything but what is dropped."""

import pytest
import torch
from torch.testing import assert_close

from recsys.models import dropped_attention
from recsys.models.attention import attend_in_sessions
from recsys.models.packing import Packing

LENGTHS = {"padded": [3, 0, 5, 1, 2, 5], "equal": [4, 4, 4], "one event": [1], "none": []}


def drawn(packing, num_heads):
    """Queries, keys and values, these of another width."""
    torch.manual_seed(0)
    widths = (4 * num_heads, 4 * num_heads, 3 * num_heads)
    return [torch.randn(packing.num_places, w, dtype=torch.float64, requires_grad=True) for w in widths]


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("num_heads", [1, 2])
def test_written_out_it_equals_torch(monkeypatch, num_heads, causal, lengths):
    monkeypatch.setattr(dropped_attention, "dropout_mask", lambda weights, _: torch.ones_like(weights))
    packing = Packing(torch.tensor(lengths, dtype=torch.int64), max_padding=3)
    inputs = drawn(packing, num_heads)
    actual, expected = (attend_in_sessions(*inputs, packing, num_heads, p, causal) for p in (0.1, 0.0))
    assert_close(actual, expected)
    weights = torch.randn_like(actual)
    assert_close(*(torch.autograd.grad((each * weights).sum(), inputs) for each in (actual, expected)))


def test_gradients_are_those_of_the_weights_that_were_kept(monkeypatch):
    """With a mask that stays the same, finite differences tell."""
    packing = Packing(torch.tensor([4, 2, 3]), max_padding=2)
    inputs = drawn(packing, 2)
    generator = torch.Generator()

    def mask(weights, probability):
        kept = torch.rand(weights.shape, generator=generator.manual_seed(1)) >= probability
        return kept.to(weights.dtype) / (1 - probability)

    monkeypatch.setattr(dropped_attention, "dropout_mask", mask)
    assert torch.autograd.gradcheck(lambda *each: attend_in_sessions(*each, packing, 2, 0.4, True), inputs)
    assert (
        attend_in_sessions(*inputs, packing, 2, 0.4, True) - attend_in_sessions(*inputs, packing, 2, 0.0, True)
    ).any()
