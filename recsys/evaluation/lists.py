"""Ranking metrics of files with several scored items per query: HR, recall, NDCG and MRR at k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.evaluation.checks import checked_labels, checked_scores


@dataclass(frozen=True)
class ListMetrics:
    """Ranking metrics of every query.

    Args:
        values: [Q] by name, hr@k, recall@k, ndcg@k and mrr@k; queries without a relevant item are left out.
        queries: [Q] those queries, as they were given.
        num_excluded: queries without a relevant item.
    """

    values: dict[str, NDArray[np.float64]]
    queries: NDArray[np.generic]
    num_excluded: int


def list_metrics(
    labels: ArrayLike, scores: ArrayLike, queries: ArrayLike, cutoffs: Sequence[int] = (5, 10, 20)
) -> ListMetrics:
    """HR, recall, NDCG (binary gains, ideal list as long as the relevant items) and MRR of every query.

    Items with equal scores are ordered against the model: the irrelevant ones first.

    Shape:
        labels [N] 1 for relevant items, scores [N], queries [N] of anything that numpy sorts.

    Raises:
        ValueError: on NaN scores, other labels or a cutoff below 1.
    """
    if min(cutoffs, default=0) < 1:
        raise ValueError(f"cutoffs must be at least 1, got {list(cutoffs)}.")
    is_relevant, values = checked_labels(labels), checked_scores(scores)
    names, codes = np.unique(np.asarray(queries), return_inverse=True)
    order = np.lexsort((is_relevant, -values, codes))
    codes, is_relevant = codes[order], is_relevant[order]
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    lengths = np.diff(np.append(starts, len(codes)))
    positions = np.arange(1, len(codes) + 1) - np.repeat(starts, lengths)
    num_relevant = np.add.reduceat(is_relevant.astype(np.int64), starts)
    kept = num_relevant > 0
    found: dict[str, NDArray[np.float64]] = {}
    for k in cutoffs:
        hits = is_relevant & (positions <= k)
        num_hits = np.add.reduceat(hits.astype(np.int64), starts)
        gains = np.add.reduceat(hits / np.log2(1.0 + positions), starts)
        first = np.minimum.reduceat(np.where(hits, positions, np.iinfo(np.int64).max), starts)
        found[f"hr@{k}"] = (num_hits > 0)[kept].astype(np.float64)
        found[f"recall@{k}"] = num_hits[kept] / num_relevant[kept]
        found[f"ndcg@{k}"] = gains[kept] / _ideal_gains(k)[np.minimum(num_relevant[kept], k)]
        found[f"mrr@{k}"] = np.where(num_hits > 0, 1 / first, 0.0)[kept]
    return ListMetrics(found, names[codes[starts][kept]], int(np.count_nonzero(~kept)))


def _ideal_gains(cutoff: int) -> NDArray[np.float64]:
    """Gain of a list that begins with 0, 1, ... relevant items."""
    return np.concatenate([[0.0], np.cumsum(1 / np.log2(1.0 + np.arange(1, cutoff + 1)))])
