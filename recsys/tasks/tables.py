"""From a schema and the user's words to a collection: which feature has which table, how large, optimised how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import torch

from recsys.data.schema import Column
from recsys.tables import (
    DenseGradient,
    FbgemmLookup,
    Feature,
    Frozen,
    FullTable,
    Lookup,
    NumbaLookup,
    Table,
    TableCollection,
    TableOptimizer,
    TorchLookup,
)
from recsys.tables.budget import Bytes, Fraction, parse_bytes, parse_fraction
from recsys.tables.lookups.base import LookupFactory
from recsys.tables.sizing import fit_tables, stored_bytes
from recsys.tasks.assignment import DEFAULT_ENTRY, assign_features, did_you_mean

MAX_EMBEDDING_DIM = 4096
"""Wider rows are beyond what the kernels are tried with; some end the process there."""

TableFactory = Callable[[str, int, int], Table]
"""Called with (name, num_embeddings, embedding_dim)."""


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
        """Refuse what is no budget."""
        check_budget("table_options", self.budget_bytes, self.budget_fraction)
        if self.freeze and self.optimizer is not None:
            raise ValueError(
                f"table_options: freeze keeps rows as they are, and optimizer={self.optimizer} would step them; give "
                "one of them."
            )

    def row_optimizer(self, default: TableOptimizer) -> TableOptimizer:
        """The optimizer of the entry's rows, where `default` is that of rows without one of their own."""
        return Frozen() if self.freeze else self.optimizer or default


def check_budget(owner: str, budget_bytes: Bytes | None, budget_fraction: Fraction | None) -> None:
    """Refuse two budgets, or what is none.

    Raises:
        ValueError: naming the owner and the value.
    """
    if budget_bytes is not None and budget_fraction is not None:
        raise ValueError(f"{owner}: give budget_bytes or budget_fraction, not both.")
    try:
        _ = budget_bytes is None or parse_bytes(budget_bytes)
        _ = budget_fraction is None or parse_fraction(budget_fraction) > 0
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from None


def default_lookup(device: torch.device | str) -> type[Lookup]:
    """The fastest that is installed: on a CPU loops compiled by numba, on a GPU FBGEMM's kernels, else torch."""
    kind, package = (NumbaLookup, "numba") if torch.device(device).type == "cpu" else (FbgemmLookup, "fbgemm_gpu")
    return kind if find_spec(package) else TorchLookup


@dataclass(frozen=True)
class TableSettings:
    """Which feature has which table, optimised how; see CTRTask for the meaning of each.

    Args:
        columns: the features that have a table.
        embedding_dim: width D of every embedding.
        table_optimizer: of all rows without an optimizer of their own.
        tables: factories of tables, by entry.
        assign: for each entry, the features that use it.
        exact_up_to: features with at most this many ids keep a FullTable.
        options: optimizer, freezing, initial rows and budget of an entry.
        lookup: where rows live; None for the default.
        clip_rows: gradient clipping by norm counts the rows' gradients.
        budget_bytes: what all tables may take together.
        budget_fraction: the same as a fraction of the full tables' bytes.

    Raises:
        ValueError: if the settings do not fit the columns or each other.
    """

    columns: Sequence[Column]
    embedding_dim: int
    table_optimizer: TableOptimizer
    tables: Mapping[str, TableFactory] = field(default_factory=lambda: {"default": FullTable})
    assign: Mapping[str, Sequence[str]] = field(default_factory=dict)
    exact_up_to: int = 0
    options: Mapping[str, TableOptions] = field(default_factory=dict)
    lookup: type[Lookup] | None = None
    clip_rows: bool = False
    budget_bytes: Bytes | None = None
    budget_fraction: Fraction | None = None

    def __post_init__(self) -> None:
        """Find what does not fit before any data is read."""
        width = self.embedding_dim
        if not isinstance(width, int) or not 1 <= width <= MAX_EMBEDDING_DIM:
            raise ValueError(f"embedding_dim must be a whole number in [1, {MAX_EMBEDDING_DIM}], got {width}.")
        if self.exact_up_to < 0:
            raise ValueError(f"exact_up_to must be at least 0, got {self.exact_up_to}.")
        self.entries()
        self._check_used()
        for name, options in self.options.items():
            if name not in self.tables:
                raise ValueError(
                    f"table_options names table '{name}', which is not in tables{did_you_mean(name, list(self.tables))}"
                )
            if self.has_budget and (options.budget_bytes or options.budget_fraction):
                raise ValueError(f"table_options '{name}' has a budget beside that of all tables; give one of them.")
        check_budget("tables", self.budget_bytes, self.budget_fraction)

    def _check_used(self) -> None:
        """Refuse an entry that no feature is assigned to: it would be read, and do nothing."""
        idle = [name for name in self.tables if name != DEFAULT_ENTRY and not self.assign.get(name)]
        if idle:
            raise ValueError(
                f"tables has '{idle[0]}', which no feature uses; name its features, assign: {{{idle[0]}: [...]}}, or "
                "leave it out."
            )

    @property
    def has_budget(self) -> bool:
        """Whether all tables share one."""
        return self.budget_bytes is not None or self.budget_fraction is not None

    @property
    def all_bytes(self) -> int:
        """The budget that all tables share, in bytes."""
        return self._bytes_of(
            self.budget_bytes, self.budget_fraction, [column.num_embeddings or 0 for column in self.columns]
        )

    def entries(self) -> dict[str, str | None]:
        """The entry of each feature; None for an exact FullTable."""
        return assign_features(self.columns, list(self.tables), self.assign, self.exact_up_to)

    def optimizer_of(self, entry: str | None) -> TableOptimizer:
        """Of the rows of an entry."""
        return self.options.get(entry or "", TableOptions()).row_optimizer(self.table_optimizer)

    @property
    def updates_rows(self) -> bool:
        """Whether some rows are stepped by an optimizer of their own."""
        chosen = [self.optimizer_of(entry) for entry in self.entries().values()]
        return any(not isinstance(optimizer, DenseGradient | Frozen) for optimizer in chosen)

    def make_tables(self) -> dict[str, Table]:
        """A table for each feature, within the budgets.

        Raises:
            ValueError: if a size or a budget cannot be met, before rows are allocated.
        """
        entries, sizes = self.entries(), {column.name: column.num_embeddings or 0 for column in self.columns}
        parts = self._budgeted_parts(entries, sizes)
        made: dict[str, Table] = {}
        for names, num_bytes in parts:
            factories = {name: self.tables[entries[name] or ""] for name in names}
            made |= fit_tables(factories, {name: sizes[name] for name in names}, self.embedding_dim, num_bytes)
        for name, entry in entries.items():
            if name not in made:
                factory: TableFactory = FullTable if entry is None else self.tables[entry]
                made[name] = factory(name, sizes[name], self.embedding_dim)
        return {name: made[name] for name in entries}

    def _budgeted_parts(
        self, entries: Mapping[str, str | None], sizes: Mapping[str, int]
    ) -> list[tuple[list[str], int]]:
        """Features that share a budget, and the bytes of it that are theirs."""
        if self.has_budget:
            kept = [name for name, entry in entries.items() if not self._takes_budget(entry)]
            exact = {name: FullTable(name, sizes[name], self.embedding_dim) for name in kept}
            left = self.all_bytes - stored_bytes(exact)
            if left <= 0:
                raise ValueError(self._too_small(entries, stored_bytes(exact)))
            return [([name for name in entries if name not in exact], left)] if len(exact) < len(entries) else []
        parts = []
        for entry, options in self.options.items():
            names = [name for name, own in entries.items() if own == entry]
            if options.budget_bytes is not None or options.budget_fraction is not None:
                if not self._takes_budget(entry):
                    raise ValueError(f"table_options '{entry}': its method keeps every row and takes no budget.")
                own_sizes = [sizes[name] for name in names]
                parts.append((names, self._bytes_of(options.budget_bytes, options.budget_fraction, own_sizes)))
        return parts

    def _too_small(self, entries: Mapping[str, str | None], exact_bytes: int) -> str:
        """What to do about a budget that tables without a size to choose exceed, in the words in which it was given."""
        given = f"budget_fraction={self.budget_fraction}" if self.budget_bytes is None else "budget_bytes"
        whole = [entry for entry in dict.fromkeys(entries.values()) if entry and not self._takes_budget(entry)]
        cures = ["lower exact_up_to"] if None in entries.values() else []
        cures += [f"give '{entry}' a method that takes a budget, such as HashTable" for entry in whole]
        return (
            f"{given} is a budget of {self.all_bytes} bytes, less than the {exact_bytes} bytes of the tables that keep "
            f"every row; raise it, or {', or '.join(cures)}."
        )

    def _takes_budget(self, entry: str | None) -> bool:
        """Whether the tables of an entry have a size to choose."""
        if entry is None:
            return False
        try:
            self.tables[entry]("probe", 1 << 10, self.embedding_dim, budget_fraction=1.0)  # type: ignore[call-arg]
        except TypeError:
            return False
        except ValueError:
            # It has one, and what is wrong will be said of a feature.
            return True
        return True

    def _bytes_of(self, budget_bytes: Bytes | None, budget_fraction: Fraction | None, sizes: Iterable[int]) -> int:
        if budget_bytes is not None:
            return parse_bytes(budget_bytes)
        assert budget_fraction is not None
        return int(parse_fraction(budget_fraction) * 4 * self.embedding_dim * sum(sizes))

    def build(self, device: torch.device | str, lookup: LookupFactory | None = None) -> TableCollection:
        """Allocate the rows, in a lookup of another kind than the settings' if one is given.

        Raises:
            ValueError: on anything that does not fit together, before rows are allocated.
        """
        entries = self.entries()
        collection = TableCollection(
            [Feature(column.name, column.name, column.pooling) for column in self.columns],
            self.make_tables(),
            optimizer={name: self.optimizer_of(entry) for name, entry in entries.items()},
            lookup=lookup or self.lookup or default_lookup(device),
            device=device,
            clip_rows=self.clip_rows,
        )
        for name, options in self.options.items():
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
