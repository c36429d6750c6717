"""GAUC: the AUC within every group (user), averaged (Zhou et al., 2018, arXiv:1706.06978, section 6.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.evaluation.checks import checked_labels, checked_scores


@dataclass(frozen=True)
class GroupedAUC:
    """AUC within groups.

    Args:
        value: mean over the groups that have both labels, weighted by their rows; NaN if there is none.
        groups: [G] codes of those groups.
        areas: [G] their AUCs.
        num_rows: [G] their rows.
        num_excluded_groups: groups with one label only.
        num_excluded_rows: their rows.
    """

    value: float
    groups: NDArray[np.int64]
    areas: NDArray[np.float64]
    num_rows: NDArray[np.int64]
    num_excluded_groups: int
    num_excluded_rows: int


def gauc(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> GroupedAUC:
    """AUC within every group, ties counting one half, weighted by the group's rows.

    One sort of 64-bit words (group, rank of the score, label) does for all groups at once.

    Shape:
        labels [N] of 0 and 1, scores [N], groups [N] of anything that numpy sorts.

    Raises:
        ValueError: on NaN scores or other labels, or with more groups and distinct scores than 63 bits number.
    """
    is_positive, values = checked_labels(labels), checked_scores(scores)
    codes, num_groups = _codes(np.asarray(groups))
    words = _words(codes, num_groups, _dense_ranks(values), is_positive)
    words.sort()
    is_positive = (words & 1).astype(bool)
    tie = words >> 1
    new_tie = np.concatenate([[True], tie[1:] != tie[:-1]])
    tie_starts = np.flatnonzero(new_tie)
    group_of_tie = tie[tie_starts] // (len(values) + 1)
    rows = np.diff(np.append(tie_starts, len(words)))
    positives = np.add.reduceat(is_positive.astype(np.int64), tie_starts)
    negatives = rows - positives
    group_starts = np.flatnonzero(np.concatenate([[True], group_of_tie[1:] != group_of_tie[:-1]]))
    below = np.cumsum(negatives) - negatives
    below -= np.repeat(below[group_starts], np.diff(np.append(group_starts, len(below))))
    twice_wins = np.add.reduceat(positives * (2 * below + negatives), group_starts)
    num_positives = np.add.reduceat(positives, group_starts)
    num_negatives = np.add.reduceat(negatives, group_starts)
    num_rows = num_positives + num_negatives
    has_both = (num_positives > 0) & (num_negatives > 0)
    areas = twice_wins[has_both] / (2.0 * num_positives[has_both] * num_negatives[has_both])
    return GroupedAUC(
        value=float(np.average(areas, weights=num_rows[has_both])) if len(areas) else float("nan"),
        groups=group_of_tie[group_starts][has_both].astype(np.int64),
        areas=areas,
        num_rows=num_rows[has_both],
        num_excluded_groups=int(np.count_nonzero(~has_both)),
        num_excluded_rows=int(num_rows[~has_both].sum()),
    )


def _codes(groups: NDArray[np.generic]) -> tuple[NDArray[np.int64], int]:
    """Groups numbered from 0; whole numbers of a small range are taken as they are."""
    if np.issubdtype(groups.dtype, np.integer) and len(groups) and groups.min() >= 0 and groups.max() < 1 << 31:
        return groups.astype(np.int64), int(groups.max()) + 1
    _, codes = np.unique(groups, return_inverse=True)
    return codes.astype(np.int64), int(codes.max()) + 1 if len(codes) else 0


def _dense_ranks(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Rank of each score among the distinct ones, from 0."""
    order = np.argsort(scores)
    ordered = scores[order]
    ranks = np.empty(len(scores), dtype=np.int64)
    ranks[order] = np.cumsum(np.concatenate([[False], ordered[1:] != ordered[:-1]]))
    return ranks


def _words(
    codes: NDArray[np.int64], num_groups: int, ranks: NDArray[np.int64], is_positive: NDArray[np.bool_]
) -> NDArray[np.int64]:
    stride = len(ranks) + 1
    if num_groups * stride >= 1 << 62:
        raise ValueError(f"groups: {num_groups:,} groups of {len(ranks):,} rows are more than 62 bits can number.")
    return (codes * stride + ranks) << 1 | is_positive
