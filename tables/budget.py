"""Byte budgets: the largest size that fits, or an error that names the smallest budget that can be met."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recsys.tables.base import Table


def largest_within(table: Table, count_bytes: Callable[[int], int], low: int, high: int, budget_bytes: int) -> int:
    """Largest size in [low, high] whose bytes do not exceed the budget.

    Args:
        table: whose budget it is, for the error.
        count_bytes: bytes of a size; must not fall as the size grows.
        low: smallest size allowed.
        high: largest size allowed.
        budget_bytes: bytes that may be used.

    Raises:
        ValueError: if even `low` needs more, with the bytes that it needs.
    """
    smallest_bytes = count_bytes(low)
    if smallest_bytes > budget_bytes:
        raise ValueError(
            f"{type(table).__name__} '{table.name}': budget_bytes={budget_bytes} cannot be met; "
            f"the smallest budget that can is {smallest_bytes} bytes."
        )
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count_bytes(middle) <= budget_bytes else (low, middle - 1)
    return low


def fraction_to_bytes(table: Table, budget_fraction: float | None, budget_bytes: int | None) -> int | None:
    """The budget in bytes, from bytes or from a fraction of the full float32 table.

    Raises:
        ValueError: unless the fraction is in (0, 1] or None.
    """
    if budget_fraction is None:
        return budget_bytes
    if not 0 < budget_fraction <= 1:
        raise ValueError(
            f"{type(table).__name__} '{table.name}': budget_fraction must be in (0, 1], got {budget_fraction!r}."
        )
    return int(budget_fraction * table.logical_bytes())


def exactly_one(owner: str, **arguments: object) -> None:
    """Raise a ValueError unless exactly one of the arguments is given (not None)."""
    given = [name for name, value in arguments.items() if value is not None]
    if len(given) != 1:
        names = " or ".join(arguments)
        raise ValueError(f"{owner}: give exactly one of {names}, got {' and '.join(given) if given else 'none'}.")
