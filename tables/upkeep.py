"""What a table may do with its rows while it trains: the protocol of `observe` and `on_epoch_end`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Rows(Protocol):
    """The matrices of a table, by name, wherever they live. Several processes must make every call together.

    Shape:
        rows [M] of one matrix, distinct; values [M, row_dim]
    """

    def read_rows(self, table: str, rows: Tensor) -> Tensor:
        """Values of some rows; in several processes, of whichever process holds them."""

    def write_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """Overwrite rows; their optimizer state stays."""

    def copy_rows(self, table: str, sources: Tensor, targets: Tensor) -> None:
        """Copy rows [M] to rows [M], with their optimizer state; a source may be given several times."""

    def reset_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """Start rows afresh, from these values and without optimizer state."""

    def agree_on(self, tensors: Sequence[Tensor]) -> None:
        """Give tensors the values that they have in the first of all processes."""
