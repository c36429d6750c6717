"""What quantisers refuse of those who call them from Python, before work that takes minutes."""

from __future__ import annotations

import numbers

import numpy as np
from numpy.typing import NDArray

from recsys.prepare.semantic.content import LONGEST_VECTOR, Matrix


def checked_matrix(owner: str, vectors: object, width: int | None = None) -> Matrix:
    """Vectors [M, T] in float32, T being the width if one is given.

    Raises:
        ValueError: naming the owner, if they are no matrix of finite numbers, or longer than products of float32 hold.
    """
    if not isinstance(vectors, np.ndarray) or vectors.dtype.kind not in "biuf" or vectors.ndim != 2:
        kind = type(vectors).__name__
        found = f"{list(vectors.shape)} of {vectors.dtype}" if isinstance(vectors, np.ndarray) else kind
        raise ValueError(f"{owner}: vectors must be a numpy array [M, T] of numbers, got {found}.")
    if width not in (None, vectors.shape[1]):
        raise ValueError(f"{owner}: vectors must be [M, {width}], got {list(vectors.shape)}.")
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(vectors, dtype=np.float32)
        squares = np.einsum("mt,mt->m", matrix, matrix, dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(squares))
    if len(wrong):
        raise ValueError(f"{owner}: vectors must be finite in float32, and row {wrong[0]} is not.")
    if squares.max(initial=0) > LONGEST_VECTOR**2:
        row = int(squares.argmax())
        raise ValueError(f"{owner}: row {row} of vectors is {squares[row] ** 0.5:.3g} long; scale the vectors down.")
    return matrix


def check_sizes(owner: str, **sizes: object) -> None:
    """Refuse numbers of what there must be one of at least.

    Raises:
        ValueError: naming the owner, the argument and the value.
    """
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(f"{owner}: {name} must be a whole number of at least 1, got {value!r}.")


def check_values(owner: str, values: object, num_levels: int, num_codes: int) -> None:
    """Refuse what are no codes [M, L] of these levels; -1, no code, stands for no vector.

    Raises:
        ValueError: naming the owner and what is wrong.
    """
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iu":
        raise ValueError(f"{owner}: codes must be a numpy array [M, {num_levels}] of whole numbers, got {values!r}.")
    if values.ndim != 2 or values.shape[1] != num_levels:
        raise ValueError(f"{owner}: codes must be [M, {num_levels}], got {list(values.shape)}.")
    wrong: NDArray[np.generic] = values[(values < 0) | (values >= num_codes)]
    if wrong.size:
        raise ValueError(f"{owner}: codes must be in [0, {num_codes}), got {wrong[0]}; leave out items without codes.")
