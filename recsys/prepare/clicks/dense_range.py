"""Between which numbers train had those of a column, and how many lie far outside: no model has learned of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from recsys.prepare.clicks.dense_values import DenseTransform, Numbers
from recsys.prepare.clicks.row_split import TRAIN
from recsys.prepare.clicks.row_store import RowStore


def ranged(store: RowStore, name: str, fitted: DenseTransform) -> DenseTransform:
    """The transform with the least and largest number of train, those of an earlier preparation included.

    Numbers far outside, by more than the whole range after the transform, are counted, against the earlier range if
    there is one. Bins have a first and a last one, in which such numbers are at home.
    """
    if fitted.kind == "bins":
        return fitted
    seen = fitted.seen
    for block in range(store.num_blocks):
        numbers = store.dense[name].read(block)[store.splits.read(block) == TRAIN]
        known = numbers[~np.isnan(numbers)]
        if len(known):
            ends = [float(known.min()), float(known.max()), *(seen or ())]
            seen = (min(ends), max(ends))
    against = fitted.seen or seen
    if against is None:
        return fitted
    num_far, farthest = 0, 0.0
    for block in range(store.num_blocks):
        far = _far(store.dense[name].read(block), fitted, against)
        if len(far):
            num_far, farthest = num_far + len(far), max(farthest, *far[[far.argmin(), far.argmax()]].tolist(), key=abs)
    return replace(fitted, seen=seen, seen_before=against, num_far=num_far, farthest=farthest)


def far_numbers(fitted: Mapping[str, DenseTransform]) -> list[str]:
    """A warning for each column with such numbers."""
    return [
        f"WARNING: {name}: {each.num_far:,} numbers, such as {each.farthest:g}, lie far outside those of train, "
        f"{each.seen_before[0]:g} to {each.seen_before[1]:g}; scores of their rows mean nothing"
        for name, each in fitted.items()
        if each.num_far and each.seen_before is not None
    ]


def _far(numbers: Numbers, fitted: DenseTransform, seen: tuple[float, float]) -> Numbers:
    low, high = fitted.apply(np.array(seen)).astype(np.float64)
    values = fitted.apply(numbers).astype(np.float64)
    # One number in train is no range: then of its own size, and at least 1.
    width = high - low or max(1.0, abs(high))
    found: Numbers = numbers[~np.isnan(numbers) & ((values < low - width) | (values > high + width))]
    return found
