"""Ranking metrics of one relevant item per query, from the ranks that the items got.

A rank is 1 for the item scored best. Tied items count as above it, `1 + (others >= score).sum()`, so that no constant
score looks good.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def ranking_metrics(ranks: NDArray[np.int64], cutoffs: Sequence[int] = (5, 10, 20)) -> dict[str, float]:
    """Hit rate, NDCG and mean reciprocal rank at every cutoff; with one relevant item hit rate equals recall.

    Args:
        ranks: [N] rank of each query's relevant item, from 1.
        cutoffs: how many items a list shows.

    Returns:
        hr@k, ndcg@k and mrr@k for every k, means over the queries; NaN without queries.

    Raises:
        ValueError: a rank or a cutoff is below 1.
    """
    if len(ranks) and ranks.min() < 1:
        raise ValueError(f"ranks start at 1, got {ranks.min()}.")
    if min(cutoffs, default=0) < 1:
        raise ValueError(f"cutoffs must be at least 1, got {list(cutoffs)}.")
    gains = {f"{name}@{k}": per_query_gains(ranks, k)[name] for k in cutoffs for name in ("hr", "ndcg", "mrr")}
    return {name: float(gain.mean()) if len(ranks) else float("nan") for name, gain in gains.items()}


def per_query_gains(ranks: NDArray[np.int64], cutoff: int) -> dict[str, NDArray[np.float64]]:
    """What each query adds to the means of `ranking_metrics` at one cutoff: hr, ndcg and mrr, [N] each."""
    shown = ranks <= cutoff
    return {
        "hr": shown.astype(np.float64),
        "ndcg": np.where(shown, 1 / np.log2(1.0 + ranks), 0.0),
        "mrr": np.where(shown, 1 / ranks, 0.0),
    }
