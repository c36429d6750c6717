"""From tables as they are trained to tables as they are served."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from recsys.tables.base import Table
from recsys.tables.collection import TableCollection
from recsys.tables.lookups.base import LookupFactory
from recsys.tables.lookups.optimizers import Frozen
from recsys.tables.lookups.torch import TorchLookup


@torch.no_grad()
def served(
    collection: TableCollection, *, lookup: LookupFactory = TorchLookup, device: torch.device | str = "cpu"
) -> TableCollection:
    """The same features with tables that are served: narrower where their method has such a form, frozen, filled.

    Vectors are those of the collection in evaluation mode; the collection stays as it is. Several processes that share
    rows must call this together.

    Args:
        collection: trained.
        lookup: where the served matrices live and how they are read.
        device: the same.
    """
    tables: dict[str, Table] = {}
    values: dict[str, Tensor] = {}
    for name in dict.fromkeys(feature.table for feature in collection.features):
        table = collection.table(name)
        found = table.served(collection.lookup)
        if found is None:
            own = {physical.name for physical in table.physical_tables()}
            found = copy.deepcopy(table), {matrix: collection.lookup.weight(matrix) for matrix in own}
        tables[name] = found[0]
        values |= found[1]
    result = TableCollection(
        collection.features, tables, optimizer=Frozen(), lookup=lookup, dtype=collection.lookup.dtype, device=device
    )
    for matrix, rows in values.items():
        result.lookup.load_weight(matrix, rows)
    return result.eval()
