"""Rows of a trained compact model in the precision that they are served in."""

from __future__ import annotations

from typing import Any

import torch

from recsys.compression.trained import Compressed
from recsys.tables import CompactTable, TableCollection
from recsys.tables.compact import RowPrecision


@torch.no_grad()
def stored_rows(collection: TableCollection, precision: RowPrecision) -> dict[str, Compressed]:
    """All tables of a collection, the rows of CompactTables as codes or halves; the others as they are.

    Raises:
        ValueError: if a value is beyond the precision's range.
    """
    found: dict[str, Compressed] = {}
    for name in dict.fromkeys(feature.table for feature in collection.features):
        table = collection.table(name)
        rows = {each.name: collection.lookup.weight(each.name).detach() for each in table.physical_tables()}
        if isinstance(table, CompactTable):
            arguments: dict[str, Any] = {**table.arguments, "precision": precision}
            narrow = CompactTable(**arguments)
            narrow.common.copy_(table.common)
            table, rows = narrow, {each: narrow.stored(values.float()) for each, values in rows.items()}
        found[name] = (table, rows)
    return found
