"""What `route` and `combine` are given of several tables of one kind at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recsys.tables.base import Table
from recsys.tables.derived import Unchanging
from recsys.tables.per_id import PerId, PerIdColumns


class GroupConstants(nn.Module):
    """The integers of G tables stacked, and what they keep of every id as one memory; nothing of it is saved.

    Args:
        tables: of each feature, all with one signature.
        names: of the features.
    """

    def __init__(self, tables: Sequence[Table], names: Sequence[str]) -> None:
        super().__init__()
        stacked = {name: torch.stack([table.constants()[name] for table in tables]) for name in tables[0].constants()}
        self._names = tuple(stacked)
        for name, integers in stacked.items():
            self.register_buffer(name, integers, persistent=False)
        values = {name: integers.tolist() for name, integers in stacked.items() if not integers.is_meta}
        self._unchanging = Unchanging(f"the tables of {list(names)}", values)
        self._per_id = {name: PerIdColumns(tables, name) for name in tables[0].per_id_names}
        for name, columns in self._per_id.items():
            self.register_buffer(f"first_{name}", columns.first, persistent=False)

    def routing(self, of: Tensor | None) -> dict[str, Any]:
        """What `route` is given: integers [G, K, 1], or [K, N] of the features [N] that ids belong to."""
        self._unchanging.check(self)
        if of is None:
            return self._picked(lambda values: values.unsqueeze(-1))
        return self._picked(lambda values: values.index_select(0, of).t())

    def combining(self, of: Tensor | None = None) -> dict[str, Any]:
        """What `combine` is given: integers [G, K], or [N, 1, K] of the features [N] that ids belong to."""
        if of is None:
            return self._picked(lambda values: values)
        return self._picked(lambda values: values.index_select(0, of).unsqueeze(1))

    def of_features(self, positions: list[int]) -> dict[str, Any]:
        """What `combine` is given of some features alone: integers [G', K]."""
        return self._picked(lambda values: values[positions])

    def _picked(self, pick: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        integers = {name: pick(self.get_buffer(name)) for name in self._names}
        per_id = {
            name: PerId(columns.joined(), pick(self.get_buffer(f"first_{name}")))
            for name, columns in self._per_id.items()
        }
        return {**integers, **per_id}
