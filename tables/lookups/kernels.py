"""Compiled loops over rows, by numba: read them, and step those that were touched.

The gradients of a row are added up in the order in which they came, whichever thread does it, so results do not depend
on the number of threads. Importing this module needs numba; kernels are compiled when first called, and kept on disk
where a folder for them can be written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from recsys.tables.lookups.prefetch import prefetch_row

Array = np.ndarray[Any, Any]
F = TypeVar("F", bound=Callable[..., object])


def _compiler(**options: Any) -> Callable[[F], F]:
    """What compiles a kernel, with these options of numba."""

    def compiled(kernel: F) -> F:
        try:
            return cast(F, njit(nogil=True, cache=True, **options)(kernel))
        except RuntimeError:
            # Neither beside this file nor in the user's own cache can anything be written: each process compiles.
            return cast(F, njit(nogil=True, **options)(kernel))

    return compiled


_compiled = _compiler()
# Sums of a row's values may be taken in any order, and quotients are not looked at for a divisor of 0, both of which
# would keep them out of vector registers; NaN and inf stay.
_vectorised = _compiler(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")

SGD, ADAGRAD, ROW_WISE_ADAGRAD, ADAM = range(4)

_MULTIPLIER = 0x9E3779B97F4A7C15
_AHEAD = 8
"""Rows between one that is worked on and one that is asked for."""


@_compiled
def number_rows(rows: Array, first_rows: Array, numbers: Array, first: int, last: int) -> None:
    """Row numbers of a store, id after id: rows [G, K, N] and where their matrices begin -> numbers [N * G * K].

    Args:
        rows: of the matrices, -1 is no row.
        first_rows: [G, K, 1] or [G, K, N].
        numbers: to fill in.
        first: id to begin with.
        last: past the last.
    """
    num_groups, num_lookups, _ = rows.shape
    by_id = first_rows.shape[2] > 1
    for g in range(num_groups):
        for k in range(num_lookups):
            place = g * num_lookups + k
            for n in range(first, last):
                row = rows[g, k, n]
                begin = first_rows[g, k, n if by_id else 0]
                numbers[n * num_groups * num_lookups + place] = row + begin if row >= 0 else -1


@_compiled
def gather(weight: Array, rows: Array, found: Array, first: int, last: int) -> None:
    """Copy rows[first:last] of weight [R, D] to those of found [N, D]; -1 gives zeros."""
    width = weight.shape[1]
    for i in range(first, last):
        if i + _AHEAD < last:
            prefetch_row(weight, max(0, rows[i + _AHEAD]))
        row = rows[i]
        for d in range(width):
            found[i, d] = weight[row, d] if row >= 0 else 0.0


@_vectorised
def gather_sums(weight: Array, rows: Array, num_summed: int, found: Array, first: int, last: int) -> None:
    """Add up rows of weight [R, D], K of rows [N * K] for each of found[first:last] of [N, D]; -1 adds nothing."""
    width = weight.shape[1]
    for i in range(first, last):
        for place in range(i * num_summed, (i + 1) * num_summed):
            if place + _AHEAD < last * num_summed:
                prefetch_row(weight, max(0, rows[place + _AHEAD]))
            row = rows[place]
            if place == i * num_summed:
                for d in range(width):
                    found[i, d] = weight[row, d] if row >= 0 else 0.0
            elif row >= 0:
                for d in range(width):
                    found[i, d] += weight[row, d]


@_compiled
def number_equals(rows: Array, low: int, high: int) -> tuple[Array, Array, Array]:
    """Number the distinct rows in [low, high) as they first come: by hashing, which is one pass where sorting is four.

    Returns: where rows of the range stand [m], the number of each of them [m], and the row of each number [M].
    """
    num_rows, bits = len(rows), 4
    while 1 << bits < 2 * num_rows:
        bits += 1
    # Open addressing; Fibonacci's multiplier spreads rows that follow each other.
    numbered, mask, shift = np.full(1 << bits, -1, np.int32), (1 << bits) - 1, np.uint64(64 - bits)
    places, numbers = np.empty(num_rows, np.int32), np.empty(num_rows, np.int32)
    distinct = np.empty(num_rows, np.int64)
    count, num_distinct = 0, 0
    for i in range(num_rows):
        row = rows[i]
        if row < low or row >= high:
            continue
        at = np.int64((np.uint64(row) * np.uint64(_MULTIPLIER)) >> shift)
        while numbered[at] >= 0 and distinct[numbered[at]] != row:
            at = (at + 1) & mask
        if numbered[at] < 0:
            numbered[at] = num_distinct
            distinct[num_distinct] = row
            num_distinct += 1
        places[count], numbers[count] = i, numbered[at]
        count += 1
    return places[:count], numbers[:count], distinct[:num_distinct]


@_compiled
def merge_within(rows: Array, num_summed: int, grad: Array, low: int, high: int) -> tuple[Array, Array]:
    """Distinct rows [M] in [low, high), as they first come, and the sum of each one's gradients [M, D].

    Gradients are read in the order in which they lie in memory.

    Args:
        rows: [N * K].
        num_summed: K, neighbouring rows that have one gradient.
        grad: [N, D].
        low: first row of the range.
        high: past the last.
    """
    places, numbers, distinct = number_equals(rows, low, high)
    width, seen = grad.shape[1], 0
    summed = np.empty((len(distinct), width), grad.dtype)
    for i in range(len(places)):
        at, number = places[i], numbers[i]
        if num_summed > 1:
            at //= num_summed
        if number == seen:
            seen += 1
            for d in range(width):
                summed[number, d] = grad[at, d]
        else:
            for d in range(width):
                summed[number, d] += grad[at, d]
    return distinct, summed


@_vectorised
def step_within(
    kind: int,
    weight: Array,
    first_state: Array,
    second_state: Array,
    rows: Array,
    num_summed: int,
    grad: Array,
    low: int,
    high: int,
    settings: Array,
) -> None:
    """One optimizer step of the rows in [low, high).

    Args:
        kind: SGD, ADAGRAD, ROW_WISE_ADAGRAD or ADAM.
        weight: [R, D].
        first_state: [R, state width], of the optimizers that have one.
        second_state: likewise.
        rows: [N * K], any number of times each; those outside of the range are passed over.
        num_summed: K, neighbouring rows that have one gradient.
        grad: [N, D].
        low: first row of the range.
        high: past the last.
        settings: learning rate, weight decay, eps, 1 - beta1, beta2, 1 - beta2 and the correction of Adam's bias, in
            weight's dtype.
    """
    rate, decay, eps, new1, beta2, new2, correction = settings
    distinct, summed = merge_within(rows, num_summed, grad, low, high)
    width = weight.shape[1]
    for i in range(len(distinct)):
        row = distinct[i]
        if i + _AHEAD < len(distinct):
            prefetch_row(weight, distinct[i + _AHEAD])
            if kind != SGD:
                prefetch_row(first_state, distinct[i + _AHEAD])
            if kind == ADAM:
                prefetch_row(second_state, distinct[i + _AHEAD])
        if decay != 0:
            for d in range(width):
                summed[i, d] += decay * weight[row, d]
        if kind == SGD:
            for d in range(width):
                weight[row, d] -= rate * summed[i, d]
        elif kind == ADAGRAD:
            for d in range(width):
                first_state[row, d] += summed[i, d] * summed[i, d]
                weight[row, d] -= rate * summed[i, d] / (np.sqrt(first_state[row, d]) + eps)
        elif kind == ROW_WISE_ADAGRAD:
            square = summed[i, 0] * summed[i, 0]
            for d in range(1, width):
                square += summed[i, d] * summed[i, d]
            first_state[row, 0] += square / weight.dtype.type(width)
            scale = rate / (np.sqrt(first_state[row, 0]) + eps)
            for d in range(width):
                weight[row, d] -= scale * summed[i, d]
        else:
            for d in range(width):
                first_state[row, d] += new1 * (summed[i, d] - first_state[row, d])
                second_state[row, d] = beta2 * second_state[row, d] + new2 * summed[i, d] * summed[i, d]
                weight[row, d] -= rate * correction * first_state[row, d] / (np.sqrt(second_state[row, d]) + eps)
