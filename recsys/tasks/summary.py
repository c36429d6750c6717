"""What every table is and costs, before training starts."""

from __future__ import annotations

from dataclasses import dataclass

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.table import Table as RichTable

from recsys.human import console, human_bytes
from recsys.tables import TableCollection


@dataclass(frozen=True)
class TableRow:
    """One line of the summary.

    Args:
        features: names of the features of the table.
        method: class of the table.
        optimizer: class of the rows' optimiser.
        num_embeddings: V.
        embedding_dim: D.
        physical: its matrices as "rows x width".
        storage: names of its matrices, which other tables may share.
        logical_bytes: of V x D float32 values.
        stored_bytes: of its matrices, its share counted in full, and its own parameters.
        state_bytes: of its rows' optimizer state.
        expected_collisions: ids expected to share all their rows with another id.
    """

    features: str
    method: str
    optimizer: str
    num_embeddings: int
    embedding_dim: int
    physical: str
    storage: tuple[str, ...]
    logical_bytes: int
    stored_bytes: int
    state_bytes: int
    expected_collisions: float

    @property
    def compression_ratio(self) -> float:
        """Logical over stored bytes."""
        return self.logical_bytes / self.stored_bytes


def table_rows(collection: TableCollection) -> list[TableRow]:
    """A line per table, in the order of features."""
    users: dict[str, list[str]] = {}
    for feature in collection.features:
        users.setdefault(feature.table, []).append(feature.name)
    return [_table_row(collection, name, names) for name, names in users.items()]


def _table_row(collection: TableCollection, name: str, features: list[str]) -> TableRow:
    table, lookup = collection.table(name), collection.lookup
    matrices = list({physical.name: physical for physical in table.physical_tables()}.values())
    return TableRow(
        features=", ".join(features),
        method=type(table).__name__,
        optimizer=type(lookup.optimizer_of(matrices[0].name)).__name__,
        num_embeddings=table.num_embeddings,
        embedding_dim=table.embedding_dim,
        physical=" + ".join(f"{matrix.num_rows:,} x {matrix.row_dim}" for matrix in matrices),
        storage=tuple(matrix.name for matrix in matrices),
        logical_bytes=table.logical_bytes(),
        stored_bytes=sum(lookup.stored_bytes(matrix.name) for matrix in matrices) + table.own_bytes(),
        state_bytes=sum(lookup.state_bytes(matrix.name) for matrix in matrices),
        expected_collisions=table.expected_collisions(),
    )


def total_bytes(collection: TableCollection) -> tuple[int, int, int]:
    """Logical, stored and optimizer-state bytes of all tables; a shared matrix is counted once."""
    lookup = collection.lookup
    tables = [collection.table(name) for name in {feature.table for feature in collection.features}]
    logical = sum(table.logical_bytes() for table in tables)
    stored = sum(lookup.stored_bytes(name) for name in lookup.tables) + sum(table.own_bytes() for table in tables)
    return logical, stored, sum(lookup.state_bytes(name) for name in lookup.tables)


def render(collection: TableCollection) -> RichTable:
    """The summary as a table to print."""
    logical, stored, state = total_bytes(collection)
    view = RichTable(title="Embedding tables", caption_justify="left")
    for heading in ("feature", "method", "optimizer"):
        view.add_column(heading)
    for heading in ("logical", "physical rows x dim", "stored", "ratio", "collisions"):
        view.add_column(heading, justify="right")
    shared = _shared_storages(collection)
    for row in table_rows(collection):
        mark = " *" if shared.intersection(row.storage) else ""
        logical_size = f"{row.num_embeddings:,} x {row.embedding_dim}"
        cells = [row.features, row.method, row.optimizer, logical_size, row.physical + mark]
        ratio = "shared" if mark else f"{row.compression_ratio:.1f}"
        view.add_row(*cells, human_bytes(row.stored_bytes), ratio, f"{row.expected_collisions:,.0f}")
    view.caption = (
        f"{human_bytes(logical)} logical in {human_bytes(stored)} stored (ratio {logical / stored:.1f}), "
        f"{human_bytes(state)} optimizer state" + (". * shared matrix, counted once" if shared else "")
    )
    return view


def _shared_storages(collection: TableCollection) -> set[str]:
    used = [name for row in table_rows(collection) for name in row.storage]
    return {name for name in used if used.count(name) > 1}


class TableSummary(Callback):
    """Prints every table's method, sizes, bytes and expected collisions before training starts."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print on the first process."""
        collection = getattr(pl_module, "collection", None)
        if trainer.is_global_zero and isinstance(collection, TableCollection):
            console().print(render(collection))
