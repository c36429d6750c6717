"""The vectors of ids, from the matrices of a collection."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.tables import TableCollection


@torch.no_grad()
def vectors_of(collection: TableCollection, name: str, ids: Tensor) -> Tensor:
    """The vectors that a table gives to ids, [N] -> [N, D]."""
    table = collection.table(name)
    physical = table.physical_tables()
    weights = {each.name: collection.lookup.weight(each.name) for each in physical}
    numbers = table.rows_of(ids) if physical else ids.new_zeros(0, len(ids))
    found = [
        weights[each.name][rows.clamp(min=0).to(weights[each.name].device)].masked_fill(rows.unsqueeze(1) < 0, 0)
        for each, rows in zip(physical, numbers, strict=True)
    ]
    rows = torch.cat([each.float() for each in found], dim=1) if found else torch.zeros(len(ids), 0)
    return table.vectors_of(rows, ids)
