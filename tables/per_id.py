"""What tables keep of every id beside its rows: codes, row numbers, groups of frequency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recsys.tables.byte_pairs import from_pairs

if TYPE_CHECKING:
    from recsys.tables.kept_state import KeptState


class PerId:
    """Values kept of every id of one or several tables, read for any ids at once.

    Args:
        values: [sum of C * V] column after column, table after table; or [sum of C * V, 2], pairs of bytes.
        first: where each column of a table begins, shaped so that it broadcasts against ids.
    """

    def __init__(self, values: Tensor, first: Tensor) -> None:
        self._values = values
        self._first = first

    def __call__(self, ids: Tensor) -> Tensor:
        """The values of ids; in `route` ids [..., 1, N] -> [..., C, N], in `combine` ids [N, G, 1] -> [N, G, C]."""
        places = ids + self._first
        found = self._values.index_select(0, places.reshape(-1))
        return (from_pairs(found) if found.dim() == 2 else found).view(places.shape)


class PerIdColumns:
    """The columns [C, V] that several tables keep under one name, as one memory.

    Where there are several tables, their buffers become views of it, so that nothing is held twice.

    Args:
        owners: the tables.
        name: of their buffer, [V] or [C, V].
    """

    def __init__(self, owners: Sequence[KeptState], name: str) -> None:
        self._owners = tuple(owners)
        self._name = name
        self._joined: Tensor | None = None
        starts, total = [], 0
        for owner in owners:
            starts.append(owner.get_buffer(f"_first_{name}") + total)
            total += len(owner.memory_of(name))
        self.first = torch.stack(starts)
        """[G, C] where each column begins."""
        self.joined()

    def joined(self) -> Tensor:
        """All columns, one after the other, where the tables' buffers are now; see KeptState.memory_of."""
        first = self._owners[0].memory_of(self._name)
        if len(self._owners) == 1:
            return first
        parts = [owner.get_buffer(self._name) for owner in self._owners]
        if self._joined is None or not self._are_views(parts, self._joined):
            self._joined = torch.cat([part.reshape(-1) for part in parts])
            start = 0
            for owner, part in zip(self._owners, parts, strict=True):
                owner._buffers[self._name] = self._joined[start : start + part.numel()].view(part.shape)
                start += part.numel()
        return self._joined.view(-1, *first.shape[1:])

    @staticmethod
    def _are_views(parts: Sequence[Tensor], joined: Tensor) -> bool:
        """Moving a module, or copying it, gives each buffer a memory of its own again."""
        storage = joined.untyped_storage()._cdata
        return all(part.untyped_storage()._cdata == storage for part in parts)
