"""Ids laid out batch after batch are the picked ids, and each batch's lie side by side."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.batched_ids import BatchedIds


@given(
    num_features=st.integers(1, 3),
    num_stored=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    num_begun=st.integers(0, 11),
    as_stored=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_every_batch_has_its_ids(num_features, num_stored, batch_size, num_begun, as_stored, seed):
    num_begun %= batch_size
    generator = np.random.default_rng(seed)
    stored = generator.integers(0, 1000, (num_features, num_stored)).astype(np.int32)
    first, last = sorted(generator.integers(0, num_stored + 1, 2).tolist())
    picked = slice(first, last) if as_stored else generator.permutation(num_stored)[first:last]
    num_rows = last - first
    laid_out = BatchedIds(torch.empty(num_features * num_rows, dtype=torch.int32), num_features, num_begun, batch_size)
    for feature in range(num_features):
        laid_out.fill(feature, stored[feature], picked)
    expected = torch.from_numpy(stored[:, picked])
    start = 0
    while start < num_rows:
        stop = min(num_rows, start + batch_size - (num_begun + start) % batch_size)
        ids = laid_out.between(start, stop)
        assert ids.is_contiguous()
        torch.testing.assert_close(ids, expected[:, start:stop], rtol=0, atol=0)
        start = stop


def test_rows_without_features_have_batches():
    laid_out = BatchedIds(torch.empty(0, dtype=torch.int32), 0, 0, 4)
    assert laid_out.between(4, 7).shape == (0, 3)
