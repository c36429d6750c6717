"""Ids of several features side by side."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.tables.columns import columns_of, laid_out


@given(counts=st.lists(st.integers(0, 20), min_size=1, max_size=8))
@settings(deadline=None)
def test_every_id_has_a_place_in_a_part_of_features_with_about_as_many(counts):
    parts, places = columns_of(counts)
    laid_out = torch.cat([torch.zeros(0, dtype=torch.int64), *(part.positions.flatten() for part in parts)])
    assert torch.equal(laid_out[places], torch.arange(sum(counts)))
    with_ids = [feature for feature, count in enumerate(counts) if count]
    assert sorted(feature for part in parts for feature in part.features) == (with_ids or list(range(len(counts))))
    assert len(laid_out) <= 1.5 * sum(counts)
    for part in parts:
        for feature, column in zip(part.features, part.positions.t(), strict=True):
            first = sum(counts[:feature])
            assert set(column.tolist()) == set(range(first, first + counts[feature]))


@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=6))
@settings(deadline=None)
def test_what_is_laid_out_gives_the_gradient_of_what_is_read(counts):
    parts, places = columns_of(counts)
    positions = torch.cat([part.positions.flatten() for part in parts])
    values = torch.randn(sum(counts), 3, dtype=torch.float64, requires_grad=True)
    laid = laid_out(values, positions, places)
    assert torch.equal(laid, values[positions])
    weights = torch.randn(sum(counts), 3, dtype=torch.float64)
    (laid.square()[places] * weights).sum().backward()
    assert torch.equal(values.grad, 2 * values.detach() * weights)
