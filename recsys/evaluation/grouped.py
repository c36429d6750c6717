"""GAUC: the AUC within every group (user), averaged (Zhou et al., 2018, arXiv:1706.06978, section 6.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.argument_types import typed
from recsys.evaluation.checks import checked_groups, checked_labels, checked_scores, checked_weights, counted
from recsys.evaluation.numbering import Codes
from recsys.evaluation.ranks import Weights


@dataclass(frozen=True)
class GroupedAUC:
    """AUC within groups.

    Args:
        value: mean over the groups that have both labels, weighted by their rows; NaN if there is none.
        groups: [G] numbers of those groups, in the order in which the groups first occur.
        areas: [G] their AUCs.
        num_rows: [G] their rows, or the sums of their weights.
        num_excluded_groups: groups with one label only.
        num_excluded_rows: their rows, or their weight.
    """

    value: float
    groups: Codes
    areas: NDArray[np.float64]
    num_rows: Weights
    num_excluded_groups: int
    num_excluded_rows: float


@typed
def gauc(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, weights: ArrayLike | None = None) -> GroupedAUC:
    """AUC within every group, ties counting one half, weighted by the group's rows.

    A missing group (None, NaN) is of its own: nobody knows with whom it belongs together. A row of weight 0 is none.

    Shape:
        labels [N] of 0 and 1, scores [N], groups [N] of anything that can be told apart, weights [N] at least 0.

    Raises:
        ValueError: on NaN scores, other labels or negative weights.
    """
    is_positive = checked_labels(labels)
    values = checked_scores(scores, len(is_positive))
    codes, w = checked_groups(groups, len(is_positive)), checked_weights(weights, len(is_positive))
    if codes is None:
        raise ValueError("gauc: groups must be of every row, got None; auc needs none.")
    if w is not None and not w.all():
        kept = w > 0
        is_positive, values, codes, w = is_positive[kept], values[kept], codes[kept], w[kept]
    ties = _ties(is_positive, values, codes, counted(w))
    wins, positives, negatives = ties.wins_of_groups()
    num_rows = positives + negatives
    has_both = (positives > 0) & (negatives > 0)
    areas = wins[has_both] / (2.0 * positives[has_both] * negatives[has_both])
    return GroupedAUC(
        value=float(np.average(areas, weights=num_rows[has_both])) if len(areas) else float("nan"),
        groups=ties.groups[ties.first_of_group][has_both],
        areas=areas,
        num_rows=num_rows[has_both],
        num_excluded_groups=int(np.count_nonzero(~has_both)),
        num_excluded_rows=num_rows[~has_both].sum().item(),
    )


@dataclass(frozen=True)
class _Ties:
    """Rows of one group with one score, T of them, by group and rising score.

    Args:
        groups: [T].
        positives: [T] rows with label 1, or their weight.
        negatives: [T] likewise.
    """

    groups: Codes
    positives: Weights
    negatives: Weights

    @property
    def first_of_group(self) -> Codes:
        """Where each group's ties begin."""
        return _starts(self.groups)

    def wins_of_groups(self) -> tuple[Weights, Weights, Weights]:
        """Twice the pairs won, positives and negatives of every group."""
        first = self.first_of_group
        below = np.cumsum(self.negatives) - self.negatives
        below -= np.repeat(below[first], np.diff(np.append(first, len(below))))  # of other groups
        twice_wins = self.positives * (2 * below + self.negatives)
        wins, positives, negatives = (
            np.add.reduceat(each, first) for each in (twice_wins, self.positives, self.negatives)
        )
        return wins, positives, negatives


def _ties(is_positive: NDArray[np.bool_], scores: NDArray[np.floating], codes: Codes, weights: Weights | None) -> _Ties:
    order = _by_group_and_score(codes, scores)
    codes, scores, is_positive = codes[order], scores[order], is_positive[order]
    first = np.flatnonzero(np.concatenate([[True], (codes[1:] != codes[:-1]) | (scores[1:] != scores[:-1])]))
    each = np.int64(1) if weights is None else weights[order]
    positives, negatives = (np.add.reduceat(each * mask, first) for mask in (is_positive, ~is_positive))
    return _Ties(codes[first], positives, negatives)


def _by_group_and_score(codes: Codes, scores: NDArray[np.floating]) -> Codes:
    """Order of the rows by group, then by score."""
    if scores.dtype == np.float32 and codes.max() < 1 << 31:
        # One sort of words in which the group stands before the score's bits, made to compare as scores do.
        bits = (scores + np.float32(0)).view(np.int32)
        return np.argsort((codes << 32) + (bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))))
    by_score = np.argsort(scores)
    return by_score[np.argsort(codes[by_score], kind="stable")]


def _starts(values: Codes) -> Codes:
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
