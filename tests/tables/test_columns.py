"""Ids of several features side by side."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.tables.columns import columns_of


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
