"""What becomes of table rows: their optimizer, where they live, and what they start from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from os import PathLike
from pathlib import Path

import torch

from recsys.argument_types import check_types
from recsys.tables import DenseGradient, FbgemmLookup, Frozen, Lookup, NumbaLookup, TableOptimizer, TorchLookup
from recsys.tables.budget import Bytes, Fraction
from recsys.tasks.total_budget import TotalBudget


@dataclass(frozen=True)
class TableOptions:
    """What may be said of an entry of `tables` beside its method.

    Args:
        optimizer: of the entry's rows, instead of the task's table_optimizer.
        freeze: rows keep their values.
        init_from: a .npy file with the rows [R, row_dim] of the one feature that uses the entry.
        budget_bytes: what the tables of the entry may take together, such as 8MB; they get as large as fits.
        budget_fraction: the same as a fraction of their full tables' bytes, such as 1%.

    Raises:
        ValueError: if both budgets are given, or one is none, or frozen rows have an optimizer.
    """

    optimizer: TableOptimizer | None = None
    freeze: bool = False
    init_from: Path | None = None
    budget_bytes: Bytes | None = None
    budget_fraction: Fraction | None = None

    def __post_init__(self) -> None:
        """Refuse fields of another type, and what is no budget."""
        given = {name: value for name, value in vars(self).items() if name != "init_from"}  # text is a path, too
        check_types("table_options", type(self), given)
        if not isinstance(self.init_from, str | PathLike | None):
            raise ValueError(f"table_options: init_from must be the path of a .npy file, got {self.init_from!r}.")
        self.budget.check("table_options")
        if self.freeze and self.optimizer is not None:
            raise ValueError(
                f"table_options: freeze keeps rows as they are, and optimizer={self.optimizer} would step them; give "
                "one of them."
            )

    @property
    def budget(self) -> TotalBudget:
        """What the tables of the entry may take together."""
        return TotalBudget(self.budget_bytes, self.budget_fraction)


@dataclass(frozen=True)
class RowSettings:
    """How rows are trained, and where they live; see CTRTask for the meaning of each.

    Args:
        optimizer: of all rows without one of their own.
        options: by entry of `tables`.
        lookup: where rows live; None for the default.
        clip_rows: gradient clipping by norm counts the rows' gradients.
    """

    optimizer: TableOptimizer
    options: Mapping[str, TableOptions] = field(default_factory=dict)
    lookup: type[Lookup] | None = None
    clip_rows: bool = False

    def optimizer_of(self, entry: str | None) -> TableOptimizer:
        """Of the rows of an entry; None is that of exact FullTables."""
        options = self.options.get(entry or "", TableOptions())
        return Frozen() if options.freeze else options.optimizer or self.optimizer

    def steps_in(self, entries: Iterable[str | None]) -> bool:
        """Whether rows of these entries are stepped by an optimizer of their own."""
        return any(not isinstance(self.optimizer_of(entry), DenseGradient | Frozen) for entry in entries)

    def lookup_on(self, device: torch.device | str) -> type[Lookup]:
        """The lookup that was asked for, or else the fastest that is installed.

        On a CPU these are loops compiled by numba, on a GPU FBGEMM's kernels, and torch's everywhere.
        """
        if self.lookup is not None:
            return self.lookup
        kind, package = (NumbaLookup, "numba") if torch.device(device).type == "cpu" else (FbgemmLookup, "fbgemm_gpu")
        return kind if find_spec(package) else TorchLookup
