"""What every table is and costs, before training starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.table import Table as RichTable
from torch import nn

from recsys.argument_types import typed
from recsys.description.optimizer_state import StateBytes, table_state_bytes, tensor_bytes
from recsys.human import console, human_bytes
from recsys.tables import Lookup, Table, TableCollection
from recsys.tasks.tables import TableSettings

_NAMES_WIDTH = 22
"""Characters of feature names in a line of the short summary."""


@dataclass(frozen=True)
class TableRow:
    """One line of the full summary.

    Args:
        features: names of the features of the table.
        method: class of the table.
        optimizer: classes of its rows' optimisers; empty without rows.
        num_embeddings: V.
        embedding_dim: D.
        num_rows: of its matrices together.
        physical: its matrices as "rows x width"; empty without rows.
        storage: names of its matrices, which other tables may share.
        logical_bytes: of V x D float32 values.
        stored_bytes: of its matrices, its share counted in full, and its own parameters and buffers.
        served_bytes: of what stands for it once trained; stored_bytes where that is the same table.
        state_bytes: of the optimizer state of its rows and parameters, and of what it keeps for training alone.
        expected_collisions: ids expected to share their vector with one before them.
    """

    features: tuple[str, ...]
    method: str
    optimizer: str
    num_embeddings: int
    embedding_dim: int
    num_rows: int
    physical: str
    storage: tuple[str, ...]
    logical_bytes: int
    stored_bytes: int
    served_bytes: int
    state_bytes: int
    expected_collisions: float


@dataclass(frozen=True)
class Totals:
    """Bytes of all tables; a shared matrix is counted once."""

    logical_bytes: int
    stored_bytes: int
    served_bytes: int
    state_bytes: int


def table_rows(collection: TableCollection, dense_state: StateBytes | None = None) -> list[TableRow]:
    """A line per table, in the order of features.

    Args:
        collection: the tables.
        dense_state: what `dense_state_bytes` gives of the optimizer that steps dense gradients.
    """
    users: dict[str, list[str]] = {}
    for feature in collection.features:
        users.setdefault(feature.table, []).append(feature.name)
    return [_table_row(collection, name, names, dense_state or {}) for name, names in users.items()]


def _table_row(collection: TableCollection, name: str, features: list[str], dense_state: StateBytes) -> TableRow:
    table, lookup = collection.table(name), collection.lookup
    matrices = list({physical.name: physical for physical in table.physical_tables()}.values())
    state = sum(lookup.state_bytes(matrix.name) for matrix in matrices) + table.training_bytes()
    stored, served = _stored_bytes(table, lookup), table.served_bytes()
    return TableRow(
        features=tuple(features),
        method=type(table).__name__,
        optimizer=", ".join(dict.fromkeys(type(lookup.optimizer_of(matrix.name)).__name__ for matrix in matrices)),
        num_embeddings=table.num_embeddings,
        embedding_dim=table.embedding_dim,
        num_rows=sum(matrix.num_rows for matrix in matrices),
        physical=" + ".join(f"{matrix.num_rows:,} x {matrix.row_dim}" for matrix in matrices),
        storage=tuple(matrix.name for matrix in matrices),
        logical_bytes=table.logical_bytes(),
        stored_bytes=stored,
        served_bytes=stored if served is None else served,
        state_bytes=state + table_state_bytes(collection, name, dense_state),
        expected_collisions=table.expected_collisions(),
    )


def _stored_bytes(table: Table, lookup: Lookup) -> int:
    """Of its matrices, whoever shares them, and of what it keeps itself."""
    return sum(map(lookup.stored_bytes, {matrix.name for matrix in table.physical_tables()})) + table.own_bytes()


def totals(collection: TableCollection, dense_state: StateBytes | None = None) -> Totals:
    """Bytes of all tables; see `table_rows`."""
    lookup = collection.lookup
    tables = [collection.table(name) for name in dict.fromkeys(feature.table for feature in collection.features)]
    own = [parameter for table in tables for parameter in table.parameters()]
    rows = {parameter for name in lookup.tables if (parameter := lookup.dense_parameter(name)) is not None}
    stored = sum(map(lookup.stored_bytes, lookup.tables)) + sum(table.own_bytes() for table in tables)
    saved = [_stored_bytes(table, lookup) - served for table in tables if (served := table.served_bytes()) is not None]
    return Totals(
        logical_bytes=sum(table.logical_bytes() for table in tables),
        stored_bytes=stored,
        served_bytes=stored - sum(saved),
        state_bytes=sum(map(lookup.state_bytes, lookup.tables))
        + sum(table.training_bytes() for table in tables)
        + sum((dense_state or {}).get(parameter, 0) for parameter in (*own, *rows)),
    )


def dense_state_bytes(optimizers: Sequence[torch.optim.Optimizer]) -> dict[nn.Parameter, int]:
    """Bytes of the state that optimizers will keep of each parameter, found by a step of a small one of each group."""
    found: dict[nn.Parameter, int] = {}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            settings = {key: value for key, value in group.items() if key != "params"}
            for parameter in group["params"]:
                found[parameter] = _state_of_one_value(optimizer, settings, parameter) * parameter.numel()
    return found


def _state_of_one_value(optimizer: torch.optim.Optimizer, settings: Mapping[str, Any], like: nn.Parameter) -> int:
    small = nn.Parameter(torch.zeros(1, 1, dtype=like.dtype))
    small.grad = torch.zeros_like(small)
    twin = type(optimizer)([{"params": [small], **settings}])  # type: ignore[call-arg]
    twin.step()
    return tensor_bytes(twin.state[small].values())


def render(
    collection: TableCollection, full: bool = False, dense_state: StateBytes | None = None, budget: int | None = None
) -> RichTable:
    """The summary as a table to print; totals come last.

    Args:
        collection: the tables.
        full: a line per table; otherwise one per method and setting, which fits 80 columns.
        dense_state: see `table_rows`.
        budget: bytes that all tables may take, if they have a budget.
    """
    view = RichTable(title="Embedding tables", caption_justify="left")
    rows = table_rows(collection, dense_state)
    used = [name for row in rows for name in row.storage]
    shared = {name for name in used if used.count(name) > 1}
    (_fill_full if full else _fill_short)(view, collection, rows, shared)
    total = totals(collection, dense_state)
    view.caption = (
        f"{human_bytes(total.logical_bytes)} logical in {human_bytes(total.stored_bytes)} stored (ratio "
        f"{total.logical_bytes / total.stored_bytes:.1f}), "
        + ("" if total.served_bytes == total.stored_bytes else f"{human_bytes(total.served_bytes)} when served, ")
        + f"{human_bytes(total.state_bytes)} optimizer state"
        + ("" if budget is None else f", {total.stored_bytes / budget:.1%} of the budget of {human_bytes(budget)}")
        + (". * shared matrix, counted once" if shared else "")
    )
    return view


def _fill_full(view: RichTable, collection: TableCollection, rows: Sequence[TableRow], shared: set[str]) -> None:
    # A column of its own only where a table is served narrower than it is trained.
    narrows = any(row.served_bytes != row.stored_bytes for row in rows)
    view.add_column("feature")
    for heading in ("method", "optimizer"):
        view.add_column(heading, no_wrap=True)
    for heading in ("logical", "physical rows x dim", "stored", *["served"] * narrows, "ratio", "collisions"):
        view.add_column(heading, justify="right")
    for row in rows:
        mark = " *" if shared.intersection(row.storage) else ""
        cells = [", ".join(row.features), row.method, row.optimizer]
        cells += [f"{row.num_embeddings:,} x {row.embedding_dim}", row.physical + mark, human_bytes(row.stored_bytes)]
        cells += [human_bytes(row.served_bytes)] if narrows else []
        ratio = "shared" if mark else f"{row.logical_bytes / row.stored_bytes:.1f}"
        view.add_row(*cells, ratio, f"{row.expected_collisions:,.0f}")


def _fill_short(view: RichTable, collection: TableCollection, rows: Sequence[TableRow], shared: set[str]) -> None:
    view.add_column("method", min_width=max((len(row.method) for row in rows), default=0))
    view.add_column("features")
    for heading in ("ids", "rows", "stored", "ratio", "collisions"):
        view.add_column(heading, justify="right")
    alike: dict[object, list[TableRow]] = {}
    tables = [collection.table(feature) for feature in dict.fromkeys(f.table for f in collection.features)]
    for row, table in zip(rows, tables, strict=True):
        alike.setdefault((row.optimizer, _settings(table)), []).append(row)
    for group in alike.values():
        names = [name for row in group for name in row.features]
        matrices = {name for row in group for name in row.storage}
        own = sum(row.stored_bytes for row in group) - sum(
            collection.lookup.stored_bytes(name) for row in group for name in row.storage
        )
        stored = own + sum(map(collection.lookup.stored_bytes, matrices))
        num_rows = sum(collection.lookup.tables[name].num_rows for name in matrices)
        logical = sum(row.logical_bytes for row in group)
        view.add_row(
            group[0].method,
            _shortened(names),
            f"{sum(row.num_embeddings for row in group):,}",
            f"{num_rows:,}{' *' if shared & matrices else ''}",
            human_bytes(stored),
            f"{logical / stored:.1f}",
            f"{sum(row.expected_collisions for row in group):,.0f}",
        )


def _settings(table: Table) -> tuple[object, ...]:
    """What tables of one line have in common: their class and the arguments that a user has given."""
    given = {key: value for key, value in table.arguments.items() if key not in ("name", "num_embeddings")}
    return (type(table), *((key, str(value)) for key, value in sorted(given.items())))


def _shortened(names: Sequence[str]) -> str:
    """Whole names as far as there is room, or the beginning of the first one, and how many there are."""
    joined = ", ".join(names)
    if len(joined) <= _NAMES_WIDTH or len(names) == 1:
        return joined
    count = f", ... ({len(names)})"
    room = _NAMES_WIDTH - len(count)
    if len(names[0]) > room:
        return names[0][:room] + f"... ({len(names)})"
    return joined[: joined.rindex(", ", 0, room + 2)] + count


class TableSummary(Callback):
    """Prints each method's features, sizes, bytes and expected collisions before training starts.

    Args:
        full: print a line for every table.
    """

    @typed
    def __init__(self, full: bool = False) -> None:
        self.full = full

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print on the first process."""
        collection = getattr(pl_module, "collection", None)
        if trainer.is_global_zero and isinstance(collection, TableCollection):
            settings = getattr(pl_module, "table_settings", None)
            budget = settings.all_bytes if isinstance(settings, TableSettings) else None
            console().print(render(collection, self.full, dense_state_bytes(trainer.optimizers), budget))
