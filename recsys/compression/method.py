"""The interface of a method of compression, and budgets that it cannot meet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from recsys.compression.trained import Compressed, TrainedTable
from recsys.tables.budget import BudgetError
from recsys.tables.sizing import stored_bytes


class Method(ABC):
    """A way to make trained tables smaller."""

    name: ClassVar[str]
    """What the command line calls it."""

    needs_column_values: ClassVar[bool] = False
    """Whether it asks for the Shapley values of columns."""

    @abstractmethod
    def compress(self, tables: Sequence[TrainedTable], budget_bytes: int) -> dict[str, Compressed]:
        """Tables by name that together take at most a budget, and nearly all of it where the method can.

        Raises:
            BudgetError: if the smallest that it can make take more.
        """

    def refuse(self, budget_bytes: int, smallest_bytes: int) -> BudgetError:
        """The error of a budget that cannot be met."""
        return BudgetError(
            f"method '{self.name}': budget_bytes={budget_bytes} cannot be met; the smallest budget that can is "
            f"{smallest_bytes} bytes.",
            smallest_bytes,
        )


def bytes_of(compressed: Mapping[str, Compressed]) -> int:
    """Bytes of the matrices and of all that the tables keep besides, as served."""
    return stored_bytes({name: table for name, (table, _) in compressed.items()})
