"""Compiled loops over rows, by numba: read them, and step those that were touched.

The gradients of a row are added up in the order in which they came, whichever thread does it, so results do not depend
on the number of threads. Importing this module needs numba; kernels are compiled when first called, and kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from recsys.tables.lookups.prefetch import prefetch_row

Array = np.ndarray[Any, Any]
F = TypeVar("F", bound=Callable[..., object])

_compiled = cast(Callable[[F], F], njit(nogil=True, cache=True))
# Sums of a row's values may be taken in any order, which lets them run in vector registers; NaN and inf stay.
_vectorised = cast(Callable[[F], F], njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"}))

SGD, ADAGRAD, ROW_WISE_ADAGRAD, ADAM = range(4)

_DIGIT_BITS = 11
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
def sorted_within(rows: Array, low: int, high: int) -> tuple[Array, Array]:
    """The rows in [low, high), ascending, and where each stood; equal ones in their order. A radix sort."""
    count = 0
    for i in range(len(rows)):
        count += low <= rows[i] < high
    keys, order = np.empty(count, np.int32), np.empty(count, np.int32)
    at = 0
    for i in range(len(rows)):
        if low <= rows[i] < high:
            keys[at], order[at] = rows[i] - low, i
            at += 1
    other_keys, other_order = np.empty(count, np.int32), np.empty(count, np.int32)
    starts = np.empty((1 << _DIGIT_BITS) + 1, np.int64)
    mask, shift = (1 << _DIGIT_BITS) - 1, 0
    while (high - low - 1) >> shift > 0:
        starts[:] = 0
        for i in range(count):
            starts[((keys[i] >> shift) & mask) + 1] += 1
        for digit in range(1 << _DIGIT_BITS):
            starts[digit + 1] += starts[digit]
        for i in range(count):
            digit = (keys[i] >> shift) & mask
            at = starts[digit]
            starts[digit] = at + 1
            other_keys[at], other_order[at] = keys[i], order[i]
        keys, other_keys = other_keys, keys
        order, other_order = other_order, order
        shift += _DIGIT_BITS
    return keys + low, order


@_compiled
def merge_within(rows: Array, grad: Array, low: int, high: int) -> tuple[Array, Array]:
    """Distinct rows [M] in [low, high), ascending, and the sum of each one's gradients [M, D]."""
    keys, order = sorted_within(rows, low, high)
    width = grad.shape[1]
    distinct = np.empty(len(keys), np.int64)
    summed = np.zeros((len(keys), width), grad.dtype)
    count = 0
    for i in range(len(keys)):
        if i == 0 or keys[i] != keys[i - 1]:
            distinct[count] = keys[i]
            count += 1
        if i + _AHEAD < len(keys):
            prefetch_row(grad, order[i + _AHEAD])
        for d in range(width):
            summed[count - 1, d] += grad[order[i], d]
    return distinct[:count], summed[:count]


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
    keys, order = sorted_within(rows, low, high)
    if num_summed > 1:
        for i in range(len(order)):
            order[i] //= num_summed
    width = weight.shape[1]
    total = np.empty(width, weight.dtype)
    i, count = 0, len(keys)
    while i < count:
        row, at = keys[i], order[i]
        if i + _AHEAD < count:
            prefetch_row(grad, order[i + _AHEAD])
            prefetch_row(weight, keys[i + _AHEAD])
            prefetch_row(first_state, keys[i + _AHEAD])
        # To copy the first gradient is twice as fast as to add it to zeros.
        for d in range(width):
            total[d] = grad[at, d]
        i += 1
        while i < count and keys[i] == row:
            if i + _AHEAD < count:
                prefetch_row(grad, order[i + _AHEAD])
            at = order[i]
            for d in range(width):
                total[d] += grad[at, d]
            i += 1
        if decay != 0:
            for d in range(width):
                total[d] += decay * weight[row, d]
        if kind == SGD:
            for d in range(width):
                weight[row, d] -= rate * total[d]
        elif kind == ADAGRAD:
            for d in range(width):
                first_state[row, d] += total[d] * total[d]
                weight[row, d] -= rate * total[d] / (np.sqrt(first_state[row, d]) + eps)
        elif kind == ROW_WISE_ADAGRAD:
            square = total[0] * total[0]
            for d in range(1, width):
                square += total[d] * total[d]
            first_state[row, 0] += square / weight.dtype.type(width)
            scale = rate / (np.sqrt(first_state[row, 0]) + eps)
            for d in range(width):
                weight[row, d] -= scale * total[d]
        else:
            for d in range(width):
                first_state[row, d] += new1 * (total[d] - first_state[row, d])
                second_state[row, d] = beta2 * second_state[row, d] + new2 * total[d] * total[d]
                weight[row, d] -= rate * correction * first_state[row, d] / (np.sqrt(second_state[row, d]) + eps)
