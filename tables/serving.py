"""From tables as they are trained to tables as they are served."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from recsys.argument_types import typed
from recsys.tables.base import Table
from recsys.tables.collection import TableCollection
from recsys.tables.lookups.base import LookupFactory
from recsys.tables.lookups.optimizers import Frozen
from recsys.tables.lookups.torch import TorchLookup
from recsys.tables.quantized import Precision, QuantizedTable
from recsys.tables.sizing import stored_bytes
from recsys.tables.vectors import vectors_of_all

Served = tuple[Table, dict[str, Tensor]]
"""A table, and the values of its matrices by name."""


@typed
def served(
    collection: TableCollection, *, lookup: LookupFactory = TorchLookup, device: torch.device | str = "cpu"
) -> TableCollection:
    """The same features with tables as they are served: narrower where their method has such a form, frozen, filled.

    Vectors are those of the collection in evaluation mode, to rounding; the collection stays as it is. Several
    processes that share rows must call this together.

    Args:
        collection: trained.
        lookup: where the served matrices live and how they are read.
        device: the same.
    """
    return _rebuilt(collection, lambda table: _served(collection, table), lookup, device)


@typed
def quantized(
    collection: TableCollection,
    precisions: Sequence[Precision] = ("int8",),
    num_ids: Sequence[int] = (),
    *,
    lookup: LookupFactory = TorchLookup,
    device: torch.device | str = "cpu",
) -> TableCollection:
    """The collection that `served` gives, with each table as a QuantizedTable where that takes fewer bytes.

    Args:
        collection: trained.
        precisions: see QuantizedTable.
        num_ids: see QuantizedTable.
        lookup: where the matrices live and how they are read.
        device: the same.

    Raises:
        ValueError: see QuantizedTable.
    """

    def quantize(table: Table) -> Served:
        narrow = QuantizedTable(
            table.name, table.num_embeddings, table.embedding_dim, precisions=precisions, num_ids=num_ids
        )
        as_it_is = table.served_bytes()
        if stored_bytes({"": narrow}) < (stored_bytes({"": table}) if as_it_is is None else as_it_is):
            return narrow, narrow.values_of(vectors_of_all(table, collection.lookup))
        return _served(collection, table)

    return _rebuilt(collection, quantize, lookup, device)


def _served(collection: TableCollection, table: Table) -> Served:
    """What the table itself gives, or the table."""
    found = table.served(collection.lookup)
    if found is not None:
        return found
    matrices = {physical.name for physical in table.physical_tables()}
    return copy.deepcopy(table), {name: collection.lookup.weight(name) for name in sorted(matrices)}


@torch.no_grad()
def _rebuilt(
    collection: TableCollection,
    change: Callable[[Table], Served],
    lookup: LookupFactory,
    device: torch.device | str,
) -> TableCollection:
    """The collection with changed tables, frozen."""
    names = dict.fromkeys(feature.table for feature in collection.features)
    changed = {name: change(collection.table(name)) for name in names}
    result = TableCollection(
        collection.features,
        {name: table for name, (table, _) in changed.items()},
        optimizer=Frozen(),
        lookup=lookup,
        dtype=collection.lookup.dtype,
        device=device,
    )
    for matrix, rows in (pair for _, values in changed.values() for pair in values.items()):
        result.lookup.load_weight(matrix, rows)
    return result.eval()
