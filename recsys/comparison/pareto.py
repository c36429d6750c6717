"""The Pareto front of quality against bytes."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(num_bytes: Sequence[float], quality: Sequence[float]) -> list[int]:
    """Positions of the contenders that no other beats, by rising bytes; O(N log N).

    One contender beats another if it is at least as good in both bytes (fewer) and quality (higher) and better in one.
    """
    order = sorted(range(len(num_bytes)), key=lambda place: (num_bytes[place], -quality[place]))
    front: list[int] = []
    for place in order:
        if front:
            last = front[-1]
            equal = (num_bytes[place], quality[place]) == (num_bytes[last], quality[last])
            if quality[place] <= quality[last] and not equal:
                continue
        front.append(place)
    return front
