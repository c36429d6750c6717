"""Ranking metrics from the ranks of relevant items: HR, recall, NDCG and MRR at k.

A rank is 1 for the item scored best. Tied items count as above a relevant one, `1 + (others >= score).sum()`, so that
no constant score looks good.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from recsys.argument_types import typed
from recsys.evaluation.checks import as_column, checked_labels, checked_scores, numbered_queries
from recsys.evaluation.numbering import Codes, Column

Values = NDArray[np.float64]
Gains = dict[str, Values]
"""What each query adds to a mean, [Q] by name, such as ndcg@10."""

_LARGEST = 2**62


@dataclass(frozen=True)
class ListMetrics:
    """Ranking metrics of every query.

    Args:
        values: [Q] by name, hr@k, recall@k, ndcg@k and mrr@k; queries without a relevant item are left out.
        queries: [Q] those queries, rising.
        num_relevant: [Q] their relevant items.
        num_excluded: queries without a relevant item.
    """

    values: Gains
    queries: NDArray[Any]
    num_relevant: NDArray[np.int64]
    num_excluded: int


@typed
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
    gains = rank_gains(ranks, cutoffs)
    return {name: float(gain.mean()) if len(ranks) else float("nan") for name, gain in gains.items()}


def rank_gains(ranks: NDArray[np.int64], cutoffs: Sequence[int]) -> Gains:
    """hr@k, ndcg@k and mrr@k of queries with one relevant item each.

    Raises:
        ValueError: a rank or a cutoff is below 1.
    """
    if ranks.ndim != 1 or (len(ranks) and ranks.dtype.kind not in "iu"):
        raise ValueError(f"ranks must be whole numbers [Q], got {list(ranks.shape)} of {ranks.dtype}.")
    if len(ranks) and ranks.min() < 1:
        raise ValueError(f"ranks start at 1, got {ranks.min()}.")
    found: Gains = {}
    for k in checked_cutoffs(cutoffs):
        shown = ranks <= min(k, _LARGEST)
        found[f"hr@{k}"] = shown.astype(np.float64)
        found[f"ndcg@{k}"] = np.where(shown, _discounts(ranks), 0.0)
        found[f"mrr@{k}"] = np.where(shown, 1 / ranks, 0.0)
    return found


@typed
def list_metrics(
    labels: ArrayLike, scores: ArrayLike, queries: ArrayLike | Column, cutoffs: Sequence[int] = (5, 10, 20)
) -> ListMetrics:
    """HR, recall, NDCG (binary gains, ideal list as long as the relevant items) and MRR of every query.

    Items with equal scores are ordered against the model: the irrelevant ones first.

    Shape:
        labels [N] 1 for relevant items, scores [N], queries [N] of anything that can be told apart.

    Raises:
        ValueError: on NaN scores, other labels, a missing query or a cutoff below 1.
    """
    is_relevant = checked_labels(labels)
    found = numbered_queries(as_column(queries, len(is_relevant), "queries"), "queries")
    rising = pc.array_sort_indices(found.values)
    codes = np.argsort(rising.to_numpy())[found.codes]
    metrics = metrics_of_lists(is_relevant, checked_scores(scores, len(is_relevant)), codes, cutoffs)
    names = found.values.take(rising).take(pa.array(metrics.queries)).to_numpy(zero_copy_only=False)
    return replace(metrics, queries=names)


def metrics_of_lists(
    is_relevant: NDArray[np.bool_], scores: NDArray[np.floating], codes: Codes, cutoffs: Sequence[int]
) -> ListMetrics:
    """`list_metrics` of checked rows whose queries are numbered, and named by their numbers.

    Raises:
        ValueError: a cutoff is below 1.
    """
    order = np.lexsort((is_relevant, -scores, codes))
    codes, is_relevant = codes[order], is_relevant[order]
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    places = np.arange(1, len(codes) + 1) - np.repeat(starts, np.diff(np.append(starts, len(codes))))
    num_relevant = np.add.reduceat(is_relevant.astype(np.int64), starts)
    kept = num_relevant > 0
    gains = _gains(places[is_relevant], num_relevant[kept], cutoffs)
    return ListMetrics(gains, codes[starts][kept], num_relevant[kept], int(np.count_nonzero(~kept)))


def _gains(ranks: NDArray[np.int64], num_relevant: NDArray[np.int64], cutoffs: Sequence[int]) -> Gains:
    """Gains of queries from the ranks of their relevant items, query by query and rising: [Q] by name."""
    starts = np.cumsum(num_relevant) - num_relevant
    each, ideal = rank_gains(ranks, cutoffs), np.concatenate([[0.0], np.cumsum(_discounts(_up_to(num_relevant)))])
    found: Gains = {}
    for k in checked_cutoffs(cutoffs):
        sums = {name: _sums(each[f"{name}@{k}"], starts) for name in ("hr", "ndcg")}
        found[f"hr@{k}"] = (sums["hr"] > 0).astype(np.float64)
        found[f"recall@{k}"] = sums["hr"] / num_relevant
        found[f"ndcg@{k}"] = sums["ndcg"] / ideal[np.minimum(num_relevant, min(k, _LARGEST))]
        found[f"mrr@{k}"] = each[f"mrr@{k}"][starts]
    return found


def checked_cutoffs(cutoffs: Sequence[int]) -> tuple[int, ...]:
    """Cutoffs, each once.

    Raises:
        ValueError: there is none, or one is below 1.
    """
    if min(cutoffs, default=0) < 1:
        raise ValueError(f"cutoffs must be at least 1, got {list(cutoffs)}.")
    return tuple(dict.fromkeys(cutoffs))


def _sums(values: Values, starts: NDArray[np.int64]) -> Values:
    return np.add.reduceat(values, starts) if len(starts) else values


def _discounts(ranks: NDArray[np.int64]) -> Values:
    return 1 / np.log2(1.0 + ranks)


def _up_to(num_relevant: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.arange(1, int(num_relevant.max(initial=0)) + 1)
