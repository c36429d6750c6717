"""Arguments that must be finite numbers: NaN is not below any bound, and truth values are no numbers."""

from __future__ import annotations

import math
from typing import Any

MOST = 2.0**62
"""No number means anything beyond: float32 could not multiply it, nor int64 add it up."""


def check_number(owner: str, argument: str, value: Any, low: float = 0.0, high: float = math.inf) -> None:
    """Refuse what is no finite number in [low, high].

    Raises:
        ValueError: naming the owner, the argument and the value.

    >>> check_number("PEPTable 'C1'", "penalty_weight", float("nan"))
    Traceback (most recent call last):
    ...
    ValueError: PEPTable 'C1': penalty_weight must be at least 0 and finite, got nan.
    """
    high = min(high, MOST)
    is_finite = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
    if not is_finite or not low <= value <= high:
        open_ended = f"at least {low:g}{'' if is_finite else ' and finite'}"
        bound = open_ended if high == MOST and not (is_finite and value > MOST) else f"in [{low:g}, {high:g}]"
        raise ValueError(f"{owner}: {argument} must be {bound}, got {value!r}.")
