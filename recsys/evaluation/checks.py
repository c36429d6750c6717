"""What arrays must satisfy before a metric is computed of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from recsys.evaluation.intervals import are_whole
from recsys.evaluation.numbering import Codes, Column, Numbered, numbered
from recsys.evaluation.ranks import Weights

_EXACT = 2**53
_PLAIN = 1e100  # within it and its inverse no product of two weights overflows or vanishes
_COUNTED = 2**31  # rows whose pairs 64 bits can count


def as_array(name: str, values: ArrayLike, dtype: type[np.float64] | None = None) -> NDArray[Any]:
    """Values as a numpy array; nothing is rounded, and no mask is lost.

    Raises:
        ValueError: naming what cannot be one.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(f"{name}: a masked array has values that do not count; leave their rows out.")
    try:
        given = np.asarray(values)
        found = given if dtype is None else np.asarray(values, dtype=dtype)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"{name} must be an array, got {type(values).__name__} ({reason}).") from error
    if dtype is not None and (given.dtype.kind in "mMUS" or _has_text(given)):
        raise ValueError(f"{name} must be numbers, got {'text' if given.dtype.kind in 'OUS' else given.dtype}.")
    if found.dtype.kind == "f" and found.dtype.itemsize > 8:
        raise ValueError(f"{name} must be of 64 bits at most, got {found.dtype}.")
    return found


def _has_text(values: NDArray[Any]) -> bool:
    return values.dtype.kind == "O" and any(isinstance(value, str | bytes) for value in values.flat)


def checked_labels(labels: ArrayLike) -> NDArray[np.bool_]:
    """Which rows have label 1.

    Raises:
        ValueError: a label is neither 0 nor 1, or the array is not [N] with N > 0.
    """
    values = as_array("labels", labels)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"labels must be [N] with at least one row, got shape {list(values.shape)}.")
    if values.dtype.names is not None:
        raise ValueError(f"labels must be 0 or 1, got records of {list(values.dtype.names)}.")
    is_positive: NDArray[np.bool_] = np.asarray(values == 1)
    wrong = np.flatnonzero(~(is_positive | np.asarray(values == 0)))
    if len(wrong):
        raise ValueError(f"labels must be 0 or 1, got {values[wrong[0]]} in row {wrong[0]} and {len(wrong) - 1} more.")
    return is_positive


def checked_scores(scores: ArrayLike, num_rows: int) -> NDArray[np.floating]:
    """Scores as a float array, in their own width where they have one.

    Raises:
        ValueError: a score is no number or NaN, or a whole number of 2**53 or more, or there is not one for every row.
    """
    values = as_array("scores", scores)
    if values.shape != (num_rows,):
        raise ValueError(f"scores must have shape [{num_rows}], one for every label, got {list(values.shape)}.")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"scores must be numbers, got {values.dtype}.")
    if values.dtype.kind in "iu" and len(values) and float(np.abs(values.astype(np.float64)).max()) >= _EXACT:
        raise ValueError("scores: whole numbers must be below 2**53, beyond which floats cannot tell them apart.")
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    wrong = np.flatnonzero(np.isnan(values))
    if len(wrong):
        raise ValueError(f"scores must be numbers, got NaN in row {wrong[0]} and {len(wrong) - 1} more.")
    return values


def checked_probabilities(scores: ArrayLike, num_rows: int) -> NDArray[np.floating]:
    """Scores in [0, 1].

    Raises:
        ValueError: a score is outside [0, 1] or NaN, or there is not one for every row.
    """
    values = checked_scores(scores, num_rows)
    wrong = np.flatnonzero((values < 0) | (values > 1))
    if len(wrong):
        raise ValueError(
            f"scores must be probabilities in [0, 1], got {values[wrong[0]]} in row {wrong[0]} and {len(wrong) - 1} "
            "more; if they are logits, say so (logits=True, --logits)."
        )
    return values


def checked_weights(weights: ArrayLike | None, num_rows: int) -> NDArray[np.float64] | None:
    """Weights in float64, of a size that can be multiplied.

    Raises:
        ValueError: a weight is negative or not finite, there is not one for every row, or all are 0.
    """
    if weights is None:
        return None
    values = as_array("weights", weights, np.float64)
    if values.shape != (num_rows,):
        raise ValueError(f"weights must have shape [{num_rows}], got {list(values.shape)}.")
    wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
    if len(wrong):
        raise ValueError(f"weights must be finite and at least 0, got {values[wrong[0]]} in row {wrong[0]}.")
    if not values.any():
        raise ValueError("weights: the rows weigh 0 in all.")
    return scaled(values)


def scaled(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights so large or small that their products would overflow or vanish, relative to the largest one.

    No metric depends on the scale of weights.

    Raises:
        ValueError: if they are too far apart for that.
    """
    smallest, largest = float(weights[weights > 0].min()), float(weights.max())
    if smallest < largest / _PLAIN:
        raise ValueError(
            f"weights from {smallest:g} to {largest:g} are too far apart; leave out rows that weigh nothing."
        )
    return weights if 1 / _PLAIN < largest < _PLAIN else weights / largest


def counted(weights: NDArray[np.float64] | None) -> Weights | None:
    """Weights for counting pairs: integers, which count exactly, where they are whole and few enough."""
    if weights is None or not are_whole(weights) or weights.sum() >= _COUNTED:
        return weights
    return weights.astype(np.int64)


def checked_groups(groups: ArrayLike | Column | None, num_rows: int) -> Codes | None:
    """Groups numbered from 0; a missing one is of its own, for nobody knows with whom it belongs together.

    Raises:
        ValueError: there is not one for every row, or they are of no kind that can be numbered.
    """
    return None if groups is None else group_codes(as_column(groups, num_rows, "groups"))


def group_codes(column: Column, name: str = "groups") -> Codes:
    """Groups numbered from 0, a missing one of its own."""
    if pa.types.is_integer(column.type) and not column.null_count and len(column):
        values = column.to_numpy().astype(np.int64)
        if values.min() >= 0 and values.max() < 2 * len(values):
            return values  # numbers already, which need no counting
    found = numbered(column, name)
    codes, absent = found.codes.copy(), found.codes < 0
    codes[absent] = len(found.values) + np.arange(np.count_nonzero(absent))
    return codes


def numbered_queries(column: Column, name: str) -> Numbered:
    """Queries numbered from 0.

    Raises:
        ValueError: if one is missing.
    """
    found = numbered(column, name)
    missing = np.flatnonzero(found.codes < 0)
    if len(missing):
        raise ValueError(f"column '{name}', row {missing[0]}: the query is missing, and {len(missing) - 1} more.")
    return found


def as_column(values: ArrayLike | Column, num_rows: int, name: str) -> Column:
    """Values to be told apart, one for every row.

    Raises:
        ValueError: there are more or fewer, or they are not of one kind.
    """
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        array = as_array(name, values)
        if array.ndim != 1:
            raise ValueError(f"{name} must have shape [{num_rows}], got {list(array.shape)}.")
        try:
            # An array of numpy would end texts before a zero at their end, and make numbers of truth values.
            values = pa.array(values if isinstance(values, list) else array)
        except (pa.ArrowException, OverflowError) as error:
            raise ValueError(f"{name} must be of one kind: {str(error).splitlines()[0]}.") from error
    if len(values) != num_rows:
        raise ValueError(f"{name} must have shape [{num_rows}], got [{len(values)}].")
    return values


def require_both_labels(is_positive: NDArray[np.bool_], weights: NDArray[np.float64] | None = None) -> None:
    """Refuse rows of one label only.

    Raises:
        ValueError: all labels are equal, or those of one label weigh nothing.
    """
    num_positives = int(np.count_nonzero(is_positive))
    if num_positives in (0, len(is_positive)):
        raise ValueError(
            f"labels: all {len(is_positive):,} rows have label {int(num_positives > 0)}; AUC needs rows of both labels."
        )
    if weights is not None and not (weights[is_positive].any() and weights[~is_positive].any()):
        raise ValueError("weights: the rows of one label weigh 0 in all; AUC needs rows of both labels.")
