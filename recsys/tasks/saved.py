"""Tables as a checkpoint describes them: what a config names to have the tables of a compressed model."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import cast

from torch import Tensor

from recsys.argument_types import check_types
from recsys.checkpoints.reading import Checkpoint
from recsys.checkpoints.table_description import build_table
from recsys.tables import Table

_TABLES = "collection.tables."


class SavedTable(Table):
    """The table that a checkpoint describes under this name, its rows yet untrained.

    Making one gives a table of the class that is described, and no SavedTable.

    Args:
        name: of the table in the checkpoint.
        num_embeddings: V, as it has.
        embedding_dim: D, as it has.
        path: a checkpoint of `lightning fit` or `recsys compress`; in a config, where it lies from there or from the
            working folder.

    Raises:
        ValueError: if the checkpoint cannot be read, has no such table, or one of other sizes.
    """

    def __new__(cls, name: str, num_embeddings: int, embedding_dim: int, *, path: str) -> SavedTable:  # noqa: D102
        check_types(f"SavedTable {name!r}", cls, {"path": path})
        if not Path(path).exists():
            raise ValueError(
                f"SavedTable '{name}': path '{path}' does not exist, neither from here nor beside the config; name the "
                "checkpoint that the config was written with."
            )
        checkpoint = _read(Path(path), Path(path).stat().st_mtime_ns)
        described = checkpoint.description["tables"]
        if name not in described:
            raise ValueError(f"SavedTable: '{path}' has no table '{name}', but {', '.join(described)}.")
        table = build_table(f"{name}.", described[name], _state_of(checkpoint, name))
        found, wanted = (table.num_embeddings, table.embedding_dim), (num_embeddings, embedding_dim)
        if found != wanted:
            raise ValueError(
                f"SavedTable: table '{name}' of '{path}' is {found[0]} x {found[1]}, but the data and "
                f"embedding_dim want {wanted[0]} x {wanted[1]}."
            )
        return cast("SavedTable", table)

    def __init__(self, name: str, num_embeddings: int, embedding_dim: int, *, path: str) -> None:
        raise AssertionError("What __new__ gives is no SavedTable, and so never initialised here.")


@lru_cache(maxsize=1)
def _read(path: Path, modified: int) -> Checkpoint:
    """A checkpoint, read once for all its tables while the file is the same."""
    return Checkpoint(path)


def _state_of(checkpoint: Checkpoint, name: str) -> dict[str, Tensor]:
    """Copies: what is read from the file stays tied to it."""
    return {
        key.removeprefix(_TABLES): value.clone()
        for key, value in checkpoint.dense.items()
        if key.startswith(f"{_TABLES}{name}.")
    }
