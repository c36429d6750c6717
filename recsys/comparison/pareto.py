"""The Pareto front of quality against bytes."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from recsys.argument_types import typed


@typed
def pareto_front(num_bytes: Sequence[float], quality: Sequence[float]) -> list[int]:
    """Positions of the contenders that no other beats, by rising bytes; O(N log N).

    One contender beats another if it is at least as good in both bytes (fewer) and quality (higher) and better in one,
    however little: there is no tolerance. A quality that is NaN or infinite is never on the front.

    Raises:
        ValueError: if they are not equally many.
    """
    if len(num_bytes) != len(quality):
        raise ValueError(
            "pareto_front: num_bytes and quality must be of the same contenders, got "
            f"{len(num_bytes)} and {len(quality)}."
        )
    known = [place for place in range(len(num_bytes)) if isfinite(num_bytes[place]) and isfinite(quality[place])]
    front: list[int] = []
    for place in sorted(known, key=lambda place: (num_bytes[place], -quality[place])):
        if front:
            last = front[-1]
            equal = (num_bytes[place], quality[place]) == (num_bytes[last], quality[last])
            if quality[place] <= quality[last] and not equal:
                continue
        front.append(place)
    return front
