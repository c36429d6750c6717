"""Ranking metrics against the definitions, query by query."""

from math import isnan, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.evaluation import ranking_metrics


@given(st.lists(st.integers(1, 40), min_size=1), st.integers(1, 30))
def test_equals_the_definition_query_by_query(ranks, cutoff):
    metrics = ranking_metrics(np.array(ranks), [cutoff])
    hits = [rank for rank in ranks if rank <= cutoff]
    assert metrics[f"hr@{cutoff}"] == pytest.approx(len(hits) / len(ranks))
    assert metrics[f"ndcg@{cutoff}"] == pytest.approx(sum(1 / log2(1 + rank) for rank in hits) / len(ranks))
    assert metrics[f"mrr@{cutoff}"] == pytest.approx(sum(1 / rank for rank in hits) / len(ranks))


def test_without_queries_nothing_is_known():
    assert all(isnan(value) for value in ranking_metrics(np.array([], dtype=np.int64)).values())


def test_refuses_rank_zero_and_cutoff_zero():
    with pytest.raises(ValueError, match="ranks start at 1, got 0"):
        ranking_metrics(np.array([0, 3]))
    with pytest.raises(ValueError, match="cutoffs must be at least 1"):
        ranking_metrics(np.array([1]), [0])
