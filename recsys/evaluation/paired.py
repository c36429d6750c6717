"""Two models on the same rows or queries: differences, second minus first, with paired intervals and p-values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation import bootstrap
from recsys.evaluation.auc import Comparison, compare_auc
from recsys.evaluation.files import Rows
from recsys.evaluation.lists import ListMetrics, list_metrics
from recsys.evaluation.means import mean_metrics
from recsys.evaluation.ratios import gauc_sums, list_sums, ratios_to_last
from recsys.evaluation.summary import Settings, shared_codes, sums_by_group


def compare_rows(
    first: Rows, second: Rows, groups: NDArray[np.int64] | None, settings: Settings
) -> dict[str, Comparison]:
    """AUC (DeLong's test; with groups, clustered by them), GAUC and the metrics of sums (bootstrap, the same draws).

    Raises:
        ValueError: if the two do not have the same labels, row by row.
    """
    if len(first) != len(second) or not np.array_equal(first.is_positive, second.is_positive):
        raise ValueError(
            f"the two predictions are not of the same rows: {len(first):,} and {len(second):,} rows, "
            "or other labels; give both in the same order."
        )
    found = {"auc": compare_auc(first.is_positive, first.scores, second.scores, settings.confidence, groups)}
    sums = [sums_by_group(rows, groups, settings) for rows in (first, second)]
    means = bootstrap.compare(sums[0], sums[1], mean_metrics, settings.confidence, settings.seed)
    found |= {name: means[name] for name in ("log_loss", "normalised_entropy", "rmse", "calibration")}
    if groups is not None:
        # The same labels give both the same groups with both labels.
        within = [gauc_sums(rows, groups) for rows in (first, second)]
        if len(within[0]):
            ratios = ratios_to_last(["gauc"])
            found |= bootstrap.compare(within[0], within[1], ratios, settings.confidence, settings.seed)
    return found


def compare_lists(first: Rows, second: Rows, query: str, settings: Settings) -> dict[str, Comparison]:
    """HR, recall, NDCG and MRR by a bootstrap over queries, which both models see in the same draws.

    The files may list other items in another order; every query must have as many relevant ones in both.

    Args:
        first: rows with the column of queries.
        second: likewise.
        query: name of that column.
        settings: with the cutoffs.

    Raises:
        ValueError: if the two do not have the same queries and numbers of relevant items.
    """
    both = shared_codes(first.others[query], second.others[query])
    lists = [
        list_metrics(rows.is_positive, rows.scores, codes, settings.cutoffs)
        for rows, codes in zip((first, second), both, strict=True)
    ]
    relevant = [np.bincount(codes[rows.is_positive]) for rows, codes in zip((first, second), both, strict=True)]
    _require_same(lists[0], lists[1], relevant[0], relevant[1])
    if not len(lists[0].queries):
        return {}
    return bootstrap.compare(
        list_sums(lists[0]),
        list_sums(lists[1]),
        ratios_to_last(list(lists[0].values)),
        settings.confidence,
        settings.seed,
    )


def _require_same(
    first: ListMetrics, second: ListMetrics, relevant_first: NDArray[np.int64], relevant_second: NDArray[np.int64]
) -> None:
    alone = [len(np.setdiff1d(mine.queries, others.queries)) for mine, others in ((first, second), (second, first))]
    if any(alone):
        raise ValueError(
            f"the two predictions are not of the same queries: {alone[0]:,} with a relevant item are only in the "
            f"first, {alone[1]:,} only in the second; list the relevant items of every query in both."
        )
    differing = int(np.count_nonzero(relevant_first[first.queries] != relevant_second[first.queries]))
    if differing:
        raise ValueError(
            f"the two predictions are not of the same queries: {differing:,} of them have more relevant items in one "
            "than in the other; list the relevant items of every query in both."
        )
