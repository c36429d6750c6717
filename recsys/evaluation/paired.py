"""Two models on the same rows or queries: differences, second minus first, with paired intervals and p-values."""

from __future__ import annotations

import numpy as np

from recsys.evaluation.auc import compare_auc
from recsys.evaluation.files import Rows
from recsys.evaluation.intervals import Comparison, comparison, draws_of, if_enough, num_draws_of
from recsys.evaluation.means import compare_means, row_draws
from recsys.evaluation.numbering import Codes
from recsys.evaluation.queries import Queries
from recsys.evaluation.ratios import compare_means as compare_ratios
from recsys.evaluation.summary import gauc_draws, precision_influence


def compare_rows(first: Rows, second: Rows, groups: Codes | None, confidence: float) -> dict[str, Comparison]:
    """AUC (DeLong's test; with groups, clustered by them), PR-AUC, GAUC and the metrics that follow from sums.

    Args:
        first: rows that weigh something.
        second: the same rows, scored by another model; weights are those of the first.
        groups: [N] users, numbered from 0, whose rows are drawn together; adds GAUC.
        confidence: of the intervals.

    Raises:
        ValueError: if the two do not have the same labels, row by row.
    """
    if len(first) != len(second) or not np.array_equal(first.is_positive, second.is_positive):
        raise ValueError("the two predictions are not of the same rows: they have other labels.")
    models = [first, second]
    found = {
        "auc": compare_auc(first.is_positive, first.scores, second.scores, confidence, groups, first.weights),
        "pr_auc": _compare_precision(first, second, groups, confidence),
        **compare_means(row_draws(models, groups), confidence),
    }
    if groups is not None:
        # The same labels give both the same groups with both labels.
        draws, num_groups = gauc_draws(models, groups)
        if num_groups:
            found |= if_enough(compare_ratios(["gauc"], draws, confidence), num_groups)
    return if_enough(found, num_draws_of(len(first), first.weights, groups))


def compare_queries(first: Queries, second: Queries, groups: Codes | None, confidence: float) -> dict[str, Comparison]:
    """Every gain of the same queries by two models; both may have listed other items for them.

    Args:
        first: queries that weigh something.
        second: the same, in the same order.
        groups: [Q] users whose queries are drawn together, numbered from 0; None where queries are independent.
        confidence: of the intervals.
    """
    if not len(first):
        return {}
    names = [name for name in first.gains if name in second.gains]
    values = np.concatenate([queries.values_of(names) for queries in (first, second)], axis=1)
    draws = draws_of(values, first.weights, groups)
    return if_enough(compare_ratios(names, draws, confidence), draws.number)


def require_same(first: Queries, second: Queries) -> None:
    """Refuse queries in the order of common numbers that are not the same.

    Raises:
        ValueError: if the two do not have the same queries and numbers of relevant items.
    """
    alone = [len(np.setdiff1d(mine.names, others.names)) for mine, others in ((first, second), (second, first))]
    if any(alone):
        raise ValueError(
            f"the two predictions are not of the same queries: {alone[0]:,} with a relevant item are only in the "
            f"first, {alone[1]:,} only in the second; list the relevant items of every query in both."
        )
    differing = int(np.count_nonzero(first.num_relevant != second.num_relevant))
    if differing:
        raise ValueError(
            f"the two predictions are not of the same queries: {differing:,} of them have more relevant items in one "
            "than in the other; list the relevant items of every query in both."
        )


def _compare_precision(first: Rows, second: Rows, groups: Codes | None, confidence: float) -> Comparison:
    (one, influence), (two, other) = (precision_influence(rows) for rows in (first, second))
    draws = draws_of((other - influence)[:, None], first.weights, groups)
    return comparison(one, two, float(draws.deviations(np.ones((1, 1)))[0]), confidence, draws.number)
