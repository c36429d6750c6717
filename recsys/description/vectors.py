"""Rows that ids read and the vectors they get, from the matrices of a collection."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.tables import Table, TableCollection


def rows_of(table: Table, ids: Tensor) -> Tensor:
    """Rows that each id reads, of the matrix of each lookup: ids [N] -> [K, N]."""
    constants = {name: values.unsqueeze(-1) for name, values in table.constants().items()}
    return table.route(ids.unsqueeze(0), constants)


@torch.no_grad()
def vectors_of(collection: TableCollection, name: str, ids: Tensor) -> Tensor:
    """The vectors that a table gives to ids, [N] -> [N, D]."""
    table = collection.table(name)
    weights = {physical.name: collection.lookup.weight(physical.name) for physical in table.physical_tables()}
    found = [
        weights[physical.name][rows.to(weights[physical.name].device)]
        for physical, rows in zip(table.physical_tables(), rows_of(table, ids), strict=True)
    ]
    parameters = {name: parameter.unsqueeze(0) for name, parameter in table.named_parameters()}
    return table.combine(torch.cat(found, dim=1).unsqueeze(1), parameters).squeeze(1)
