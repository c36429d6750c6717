"""Matrices that several tables read, whose bytes stand in the row of each of them."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.human import human_bytes
from recsys.tables import TableCollection


def shared_notes(collection: TableCollection, names: Sequence[str]) -> list[str]:
    """A sentence for each matrix that more than one of the tables reads, with its bytes."""
    readers: dict[str, list[str]] = {}
    for name in names:
        for matrix in dict.fromkeys(physical.name for physical in collection.table(name).physical_tables()):
            readers.setdefault(matrix, []).append(name)
    return [
        f"{', '.join(tables)} share the matrix '{matrix}', {human_bytes(collection.lookup.stored_bytes(matrix))}: it "
        "counts in full for each of them, and its rows as unused where the others alone read them."
        for matrix, tables in readers.items()
        if len(tables) > 1
    ]
