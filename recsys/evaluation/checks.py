"""What arrays must satisfy before a metric is computed of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def checked_labels(labels: ArrayLike) -> NDArray[np.bool_]:
    """Which rows have label 1.

    Raises:
        ValueError: a label is neither 0 nor 1, or the array is not [N] with N > 0.
    """
    values = np.asarray(labels)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"labels must be [N] with at least one row, got shape {list(values.shape)}.")
    is_positive: NDArray[np.bool_] = values == 1
    wrong = np.flatnonzero(~(is_positive | (values == 0)))
    if len(wrong):
        raise ValueError(f"labels must be 0 or 1, got {values[wrong[0]]} in row {wrong[0]} and {len(wrong) - 1} more.")
    return is_positive


def checked_scores(scores: ArrayLike, name: str = "scores") -> NDArray[np.floating]:
    """Scores as a float array.

    Raises:
        ValueError: a score is NaN.
    """
    values = np.asarray(scores)
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    wrong = np.flatnonzero(np.isnan(values))
    if len(wrong):
        raise ValueError(f"{name} must be numbers, got NaN in row {wrong[0]} and {len(wrong) - 1} more.")
    return values


def checked_probabilities(scores: ArrayLike) -> NDArray[np.float64]:
    """Scores in [0, 1], in float64.

    Raises:
        ValueError: a score is outside [0, 1] or NaN.
    """
    values = checked_scores(scores)
    wrong = np.flatnonzero((values < 0) | (values > 1))
    if len(wrong):
        raise ValueError(
            f"scores must be probabilities in [0, 1], got {values[wrong[0]]} in row {wrong[0]} and {len(wrong) - 1} "
            "more; if they are logits, say so (logits=True, --logits)."
        )
    return values.astype(np.float64)


def checked_weights(weights: ArrayLike, num_rows: int) -> NDArray[np.float64]:
    """Weights in float64.

    Raises:
        ValueError: a weight is negative or not finite, or there is not one for every row.
    """
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (num_rows,):
        raise ValueError(f"weights must have shape [{num_rows}], got {list(values.shape)}.")
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(wrong):
        raise ValueError(f"weights must be finite and at least 0, got {values[wrong[0]]} in row {wrong[0]}.")
    return values


def require_both_labels(is_positive: NDArray[np.bool_]) -> None:
    """Refuse rows of one label only.

    Raises:
        ValueError: all labels are equal.
    """
    num_positives = int(np.count_nonzero(is_positive))
    if num_positives in (0, len(is_positive)):
        raise ValueError(
            f"labels: all {len(is_positive):,} rows have label {int(num_positives > 0)}; AUC needs rows of both labels."
        )
