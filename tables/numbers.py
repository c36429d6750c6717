"""Arguments that must be finite numbers: NaN is not below any bound, and truth values are no numbers."""

from __future__ import annotations

import math


def check_number(owner: str, argument: str, value: object, low: float = 0.0, high: float = math.inf) -> None:
    """Refuse what is no finite number in [low, high].

    Raises:
        ValueError: naming the owner, the argument and the value.

    >>> check_number("PEPTable 'C1'", "penalty_weight", float("nan"))
    Traceback (most recent call last):
    ...
    ValueError: PEPTable 'C1': penalty_weight must be at least 0 and finite, got nan.
    """
    is_finite = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
    if not is_finite or not low <= value <= high:  # type: ignore[operator]
        open_ended = f"at least {low:g}{'' if is_finite else ' and finite'}"
        bound = open_ended if high == math.inf else f"in [{low:g}, {high:g}]"
        raise ValueError(f"{owner}: {argument} must be {bound}, got {value!r}.")
