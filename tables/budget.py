"""Byte budgets: the largest size that fits, or an error that names the smallest budget that can be met."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recsys.tables.numbers import MOST

if TYPE_CHECKING:
    from recsys.tables.base import Table


Bytes = int | str
"""A number of bytes, or text such as "8MB", "1.5 GiB" or "800 kB"."""

Fraction = float | str
"""A number in (0, 1], or text such as "10%"."""

_UNITS = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgt", 1)
    for suffix, base in (("", 1000), ("b", 1000), ("ib", 1024))
}
_ROUNDING = 1e-15
"""Of a product of two float64 numbers, relative to it."""


def parse_bytes(value: Bytes) -> int:
    """Whole bytes.

    Raises:
        ValueError: if it is no number of bytes.

    >>> parse_bytes("8MB"), parse_bytes("1.5 KiB"), parse_bytes(12)
    (8000000, 1536, 12)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e\d+)?)\s*([a-z]*)\s*", str(value).lower())
    if isinstance(value, bool) or found is None or found[2] not in _UNITS:
        raise ValueError(f"budget_bytes must be a number of bytes such as 8000000, 8MB or 1.5GiB, got {value!r}.")
    num_bytes = float(found[1]) * _UNITS[found[2]]
    if num_bytes > MOST:
        raise ValueError(f"budget_bytes must be at most 2**62 bytes, which no memory has, got {value!r}.")
    return int(num_bytes)


def parse_fraction(value: Fraction, argument: str = "budget_fraction") -> float:
    """A fraction in (0, 1], said by this argument.

    Raises:
        ValueError: if it is none.

    >>> parse_fraction("1%"), parse_fraction(0.25)
    (0.01, 0.25)
    """
    text = str(value).strip()
    try:
        found = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        found = 0.0
    if isinstance(value, bool) or not 0 < found <= 1:
        raise ValueError(f"{argument} must be in (0, 1], or a percentage such as 10%, got {value!r}.")
    return found


def bytes_of_fraction(fraction: Fraction, full_bytes: int) -> int:
    """The whole bytes in a fraction of some, those from which it differs by rounding alone among them.

    Raises:
        ValueError: if it is no fraction in (0, 1].

    >>> bytes_of_fraction(0.29, 400), int(0.29 * 400)
    (116, 115)
    """
    exact = parse_fraction(fraction) * full_bytes
    nearest = round(exact)
    return nearest if math.isclose(exact, nearest, rel_tol=_ROUNDING) else int(exact)


class BudgetError(ValueError):
    """A budget that cannot be met.

    Args:
        message: which, and the smallest that can.
        smallest_bytes: the latter.
    """

    def __init__(self, message: str, smallest_bytes: int) -> None:
        super().__init__(message)
        self.smallest_bytes = smallest_bytes


@dataclass(frozen=True)
class Budget:
    """Bytes that a table may take, as the user gave them.

    Args:
        table: whose budget it is.
        num_bytes: float32 bytes.
        fraction: of the full table's bytes, if that is what was given.
    """

    table: Table
    num_bytes: int
    fraction: float | None = None

    def largest(self, count_bytes: Callable[[int], int], low: int, high: int) -> int:
        """Largest size in [low, high] whose bytes do not exceed the budget.

        Args:
            count_bytes: bytes of a size; must not fall as the size grows.
            low: smallest size allowed.
            high: largest size allowed.

        Raises:
            ValueError: if even `low` needs more, with what it needs.
        """
        self.require(count_bytes(low))
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if count_bytes(middle) <= self.num_bytes else (low, middle - 1)
        return low

    def require(self, smallest_bytes: int) -> None:
        """Refuse a budget below what the smallest size needs.

        Raises:
            ValueError: in the words of the budget that was given.
        """
        if smallest_bytes <= self.num_bytes:
            return
        owner = f"{type(self.table).__name__} '{self.table.name}'"
        if self.fraction is None:
            raise BudgetError(
                f"{owner}: budget_bytes={self.num_bytes} cannot be met; "
                f"the smallest budget that can is {smallest_bytes} bytes.",
                smallest_bytes,
            )
        full = self.table.logical_bytes()
        raise BudgetError(
            f"{owner}: budget_fraction={self.fraction} of {full} bytes cannot be met; the smallest budget that can is "
            f"{smallest_bytes} bytes, budget_fraction={rounded_up(smallest_bytes / full)}. Small tables are best kept "
            f"whole: exact_up_to: {self.table.num_embeddings} does.",
            smallest_bytes,
        )


def rounded_up(fraction: float) -> float:
    """Four digits that are not below the fraction."""
    rounded = float(f"{fraction:.4g}")
    return rounded if rounded >= fraction else float(f"{fraction * 1.0005:.4g}")


def size_or_budget(
    table: Table, budget_bytes: Bytes | None, budget_fraction: Fraction | None, **sizes: object
) -> Budget | None:
    """The budget, or None where a size is given; exactly one of all must be.

    Args:
        table: whose size it is.
        budget_bytes: as the user gave it.
        budget_fraction: as the user gave it, of the full table's float32 bytes.
        sizes: the other ways to give a size, by name, None where not given.

    Raises:
        ValueError: unless exactly one is given, and in range.
    """
    given = {**sizes, "budget_bytes": budget_bytes, "budget_fraction": budget_fraction}
    exactly_one(f"{type(table).__name__} '{table.name}'", **given)
    return budget_of(table, budget_bytes, budget_fraction)


def budget_of(table: Table, budget_bytes: Bytes | None, budget_fraction: Fraction | None) -> Budget | None:
    """The budget that bytes or a fraction give; None if neither is given.

    Raises:
        ValueError: if it is no number of bytes, or no fraction in (0, 1].
    """
    try:
        if budget_bytes is not None:
            return Budget(table, parse_bytes(budget_bytes))
        fraction = None if budget_fraction is None else parse_fraction(budget_fraction)
    except ValueError as error:
        raise ValueError(f"{type(table).__name__} '{table.name}': {error}") from None
    return None if fraction is None else Budget(table, bytes_of_fraction(fraction, table.logical_bytes()), fraction)


def exactly_one(owner: str, **arguments: object) -> None:
    """Raise a ValueError unless exactly one of the arguments is given (not None)."""
    given = [name for name, value in arguments.items() if value is not None]
    if len(given) != 1:
        names = " or ".join(arguments)
        raise ValueError(f"{owner}: give exactly one of {names}, got {' and '.join(given) if given else 'none'}.")
