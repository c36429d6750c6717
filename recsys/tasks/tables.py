"""From a schema and the user's words to a collection: which feature has which table, how large, optimised how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from recsys.data.schema import Column
from recsys.tables import Feature, Table, TableCollection
from recsys.tables.budget import BudgetError, rounded_up
from recsys.tables.factories import table_of
from recsys.tables.lookups.base import LookupFactory
from recsys.tables.sizing import fit_tables, stored_bytes
from recsys.tasks.assignment import Assignment, did_you_mean
from recsys.tasks.rows import RowSettings
from recsys.tasks.total_budget import TotalBudget

MAX_EMBEDDING_DIM = 4096
"""Wider rows are beyond what the kernels are tried with; some end the process there."""


@dataclass(frozen=True)
class TableSettings:
    """All that makes the tables of a task.

    Args:
        embedding_dim: width D of every embedding.
        assignment: which feature has which table.
        rows: how rows are trained, and where they live.
        budget: what all tables may take together.

    Raises:
        ValueError: if the settings do not fit the columns or each other.
    """

    embedding_dim: int
    assignment: Assignment
    rows: RowSettings
    budget: TotalBudget

    def __post_init__(self) -> None:
        """Find what does not fit before any data is read."""
        width = self.embedding_dim
        if not isinstance(width, int) or not 1 <= width <= MAX_EMBEDDING_DIM:
            raise ValueError(f"embedding_dim must be a whole number in [1, {MAX_EMBEDDING_DIM}], got {width}.")
        # A misspelt name is said before the entry that it leaves without features.
        self.assignment.entries()
        self.assignment.check()
        tables = self.assignment.tables
        for name, options in self.rows.options.items():
            if name not in tables:
                raise ValueError(
                    f"table_options names table '{name}', which is not in tables{did_you_mean(name, list(tables))}"
                )
            if self.budget.is_given and options.budget.is_given:
                raise ValueError(f"table_options '{name}' has a budget beside that of all tables; give one of them.")
        self.budget.check("tables")

    @property
    def columns(self) -> Sequence[Column]:
        """The features that have a table."""
        return self.assignment.columns

    @property
    def all_bytes(self) -> int | None:
        """The budget that all tables share, in bytes; None without one."""
        if not self.budget.is_given:
            return None
        return self.budget.bytes_of(self.assignment.sizes.values(), self.embedding_dim)

    @property
    def updates_rows(self) -> bool:
        """Whether some rows are stepped by an optimizer of their own."""
        return self.rows.steps_in(self.assignment.entries().values())

    def make_tables(self) -> dict[str, Table]:
        """A table for each feature, within the budgets.

        Raises:
            ValueError: if a size or a budget cannot be met, before rows are allocated.
        """
        entries = self.assignment.entries()
        given = self._tables_of_given_size(entries)
        made = dict(given)
        for features, budget, beside in self._budgeted_parts(entries, given):
            made |= self._fitted(features, budget, beside)
        # In the order of the columns, whatever was fitted first.
        return {name: made[name] for name in entries}

    def _tables_of_given_size(self, entries: Mapping[str, str | None]) -> dict[str, Table]:
        """The tables of features that no budget sizes."""
        budgeted: set[str | None] = {entry for entry, own in self.rows.options.items() if own.budget.is_given}
        if self.budget.is_given:
            budgeted |= set(entries.values())
        sized, sizes = {entry for entry in budgeted if self._takes_budget(entry)}, self.assignment.sizes
        return {
            name: table_of(f"tables: '{name}'", self.assignment.factory(entry), name, sizes[name], self.embedding_dim)
            for name, entry in entries.items()
            if entry not in sized
        }

    def _budgeted_parts(
        self, entries: Mapping[str, str | None], given: Mapping[str, Table]
    ) -> list[tuple[dict[str, str | None], TotalBudget, Mapping[str, Table]]]:
        """Features that share a budget and their entries, the budget, and the tables that count in it besides."""
        all_bytes = self.all_bytes
        if all_bytes is not None:
            sized = {name: entry for name, entry in entries.items() if name not in given}
            given_bytes = stored_bytes(given)
            left = all_bytes - given_bytes
            if left < 0 or (not left and sized and given):
                raise ValueError(self._too_small(all_bytes, entries, given_bytes))
            return [(sized, self.budget, given)] if sized else []
        parts: list[tuple[dict[str, str | None], TotalBudget, Mapping[str, Table]]] = []
        for entry, options in self.rows.options.items():
            if options.budget.is_given:
                if not self._takes_budget(entry):
                    raise ValueError(f"table_options '{entry}': its method keeps every row and takes no budget.")
                parts.append(({name: own for name, own in entries.items() if own == entry}, options.budget, {}))
        return parts

    def _fitted(
        self, entries: Mapping[str, str | None], budget: TotalBudget, beside: Mapping[str, Table]
    ) -> dict[str, Table]:
        """Tables of these features, as large as the budget allows with those that count in it besides."""
        all_sizes = self.assignment.sizes
        sizes = {name: all_sizes[name] for name in entries}
        factories = {name: self.assignment.factory(entry) for name, entry in entries.items()}
        counted = [*sizes.values(), *(all_sizes[name] for name in beside)]
        num_bytes = budget.bytes_of(counted, self.embedding_dim)
        try:
            return fit_tables(factories, sizes, self.embedding_dim, num_bytes, beside)
        except BudgetError as error:
            if budget.fraction is None:
                raise
            smallest = rounded_up(error.smallest_bytes / (4 * self.embedding_dim * sum(counted)))
            cure = f" That is budget_fraction={smallest}." if smallest <= 1 else ""
            raise BudgetError(f"budget_fraction={budget.fraction}: {error}{cure}", error.smallest_bytes) from None

    def _too_small(self, all_bytes: int, entries: Mapping[str, str | None], given_bytes: int) -> str:
        """What to do about a budget that tables without a size to choose exceed, in the words in which it was given."""
        given = f"budget_fraction={self.budget.fraction}" if self.budget.num_bytes is None else "budget_bytes"
        whole = [entry for entry in dict.fromkeys(entries.values()) if entry and not self._takes_budget(entry)]
        cures = ["lower exact_up_to"] if None in entries.values() else []
        cures += [f"give '{entry}' a method that takes a budget, such as HashTable" for entry in whole]
        return (
            f"{given} is a budget of {all_bytes} bytes, and the tables without a size to choose take {given_bytes}; "
            f"raise it, or {', or '.join(cures)}."
        )

    def _takes_budget(self, entry: str | None) -> bool:
        return self.assignment.takes_budget(entry, self.embedding_dim)

    def build(self, device: torch.device | str, lookup: LookupFactory | None = None) -> TableCollection:
        """Allocate the rows, in a lookup of another kind than the settings' if one is given.

        Raises:
            ValueError: on anything that does not fit together, before rows are allocated.
        """
        entries = self.assignment.entries()
        collection = TableCollection(
            [Feature(column.name, column.name, column.pooling) for column in self.columns],
            self.make_tables(),
            optimizer={name: self.rows.optimizer_of(entry) for name, entry in entries.items()},
            lookup=lookup or self.rows.lookup_on(device),
            device=device,
            clip_rows=self.rows.clip_rows,
        )
        for name, options in self.rows.options.items():
            if options.init_from is not None:
                features = [feature for feature, entry in entries.items() if entry == name]
                _load_rows(collection, name, features, options.init_from)
        return collection


def _load_rows(collection: TableCollection, entry: str, features: Sequence[str], file: Path) -> None:
    import numpy as np

    matrices = {p.name for feature in features for p in collection.table(feature).physical_tables()}
    if len(matrices) != 1:
        raise ValueError(f"table_options '{entry}': init_from fills one matrix, but '{entry}' has {sorted(matrices)}.")
    if not file.is_file():
        raise ValueError(f"table_options '{entry}': init_from file '{file}' does not exist.")
    try:
        rows = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"table_options '{entry}': init_from file '{file}' is no .npy file: {error}") from error
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "fiu":
        kind = rows.dtype if isinstance(rows, np.ndarray) else "several arrays"
        raise ValueError(
            f"table_options '{entry}': init_from file '{file}' must hold one matrix of numbers, got {kind}."
        )
    collection.lookup.load_weight(matrices.pop(), torch.from_numpy(rows))
