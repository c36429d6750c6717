"""Cheap dropout: as many zeros as asked, everywhere alike, the mean kept."""

import pytest
import torch
from torch.testing import assert_close

from recsys.models.dropout import Dropout, dropout_mask


@pytest.mark.parametrize("probability", [1e-7, 0.1, 0.2, 0.5, 0.9])
def test_zeros_are_as_frequent_as_asked_at_every_place_of_a_word(probability):
    torch.manual_seed(0)
    mask = dropout_mask(torch.empty(400_000), probability)
    assert len(mask.unique()) <= 2
    for place in range(4):
        dropped = (mask[place::4] == 0).double()
        assert dropped.mean().item() == pytest.approx(probability, abs=4 * (probability / 100_000) ** 0.5 + 1e-5)
    assert mask.mean().item() == pytest.approx(1, abs=0.03)


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    dropped = (dropout_mask(torch.empty(400_000), 0.5) == 0).double() - 0.5
    for distance in range(1, 9):
        assert abs((dropped[distance:] * dropped[:-distance]).mean().item()) < 0.25 * 4 / 400_000**0.5


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 0), (2, 3), (5, 7, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_mask_has_the_shape_and_dtype_asked(shape, dtype):
    mask = dropout_mask(torch.empty(shape, dtype=dtype), 0.3)
    assert mask.shape == shape
    assert mask.dtype == dtype


def test_values_and_gradients_are_dropped_alike():
    torch.manual_seed(0)
    values = torch.rand(50, 4).add_(1).t().requires_grad_()
    kept = Dropout(0.5)(values)
    assert_close(kept[kept != 0], 2 * values[kept != 0])
    kept.sum().backward()
    assert_close(values.grad, 2.0 * (kept != 0))
    assert_close(Dropout(0.5).eval()(values), values)
    assert_close(Dropout(0.0)(values), values)
