"""The matrices that an Embedding reads, and what its table may do to their rows while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Self

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recsys.tables.base import Table
from recsys.tables.computed_weight import ComputedWeight
from recsys.tables.contract_checks import check_matrices_of
from recsys.tables.matrices import Matrix, matrix_of
from recsys.tables.physical import PhysicalTable
from recsys.tables.placement import check_floats
from recsys.tables.storages import unique_physical_tables
from recsys.tables.transforms import is_computed_again


class EmbeddingRows(nn.Module):
    """Owns the rows of one table as ordinary parameters; the part of an Embedding that is `recsys.tables.upkeep.Rows`.

    The optimizer's state of the rows is out of reach here.
    """

    table: Table
    sparse: bool
    _dtype: torch.dtype

    def _make_rows(self, device: torch.device, dtype: torch.dtype) -> None:
        check_matrices_of(self.table)
        physical = unique_physical_tables([self.table])
        made = [matrix_of(self.table, each, dtype, device, sparse=self.sparse) for each in physical.values()]
        self.matrices = nn.ModuleList(made)
        names = list(physical)
        slots = enumerate(names.index(each.name) for each in self.table.physical_tables())
        # Neighbouring lookups of one matrix are one read.
        self._reads = [(matrix, [slot for slot, _ in run]) for matrix, run in groupby(slots, key=lambda read: read[1])]

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Refuse the computed weight as a parameter, as torch.nn.utils.prune would make it: nothing would read it."""
        if isinstance(param, ComputedWeight):
            self.weight = param  # refuses
        super().register_parameter(name, param)

    def __prepare_scriptable__(self) -> None:
        """Refuse torch.jit.script, whose language has none of what a table is."""
        raise ValueError(f"{type(self).__name__} cannot be scripted; use torch.jit.trace or torch.export.")

    def _own_matrices(self) -> list[Matrix]:
        return [matrix for matrix in self.matrices if isinstance(matrix, Matrix)]

    @property
    def weights(self) -> list[nn.Parameter]:
        """The rows of each matrix [R, row_dim]."""
        return [matrix.rows for matrix in self._own_matrices()]

    @property
    def dtype(self) -> torch.dtype:
        """Of the vectors."""
        free = [matrix.rows for matrix in self._own_matrices() if matrix.physical.dtype is None]
        values = (*free, *self.table.parameters())
        return next((each.dtype for each in values if each.is_floating_point()), self._dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert; rows of integers keep their dtype, and are read in the new one."""
        dtype = fn(torch.zeros((), dtype=self._dtype, device="cpu")).dtype
        check_floats(f"{type(self.table).__name__} '{self.table.name}'", dtype)
        self._dtype = dtype
        return super()._apply(fn, recurse)

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return next(iter((*self.weights, *self.table.parameters(), *self.table.buffers()))).device

    def _observe(self, ids: Tensor) -> None:
        """Show a batch to a table that takes note of ids, in training mode; frozen rows stay with their ids."""
        table = self.table
        if not (table.observes and table.training and any(rows.requires_grad for rows in self.weights)):
            return
        if ids.is_meta or is_computed_again():
            return
        if not table.counts_batches and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            raise ValueError(
                f"{type(table).__name__} '{table.name}': its rows follow the ids of training batches, of which an "
                f"Embedding sees those of its own process alone, one of {dist.get_world_size()}; train it in one "
                "process, or in a TableCollection with TorchrecLookup, or call eval()."
            )
        if any(each.is_inference() for each in table.buffers()) and not torch.is_inference_mode_enabled():
            raise ValueError(
                f"{type(table).__name__} '{table.name}' was made in inference mode, and what it notes of ids cannot be "
                "written outside of it; make it outside, or call eval()."
            )
        # Here alone: around all of this it would be a part of exported programs, which cannot be saved with it.
        with torch.no_grad():
            table.observe(ids.reshape(-1).long(), self)

    def all_rows(self, matrix: str) -> Tensor:
        """The rows of a matrix [R, row_dim], by name."""
        return self._rows_of(matrix).detach()

    def set_rows(self, rows: Mapping[str, Tensor]) -> None:
        """Overwrite whole matrices, by name."""
        with torch.no_grad():
            for name, values in rows.items():
                self._rows_of(name).copy_(values)

    def _rows_of(self, matrix: str) -> nn.Parameter:
        return next(each.rows for each in self._own_matrices() if each.physical.name == matrix)

    def read_rows(self, table: str, rows: Tensor) -> Tensor:
        """See recsys.tables.upkeep.Rows."""
        return self._rows_of(table).detach()[rows]

    @torch.no_grad()
    def write_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """See recsys.tables.upkeep.Rows."""
        weight = self._rows_of(table)
        weight[rows] = values.to(weight)

    def copy_rows(self, table: str, sources: Tensor, targets: Tensor) -> None:
        """See recsys.tables.upkeep.Rows; the optimizer's state is out of reach here."""
        self.write_rows(table, targets, self.read_rows(table, sources))

    def reset_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """See recsys.tables.upkeep.Rows; the optimizer's state is out of reach here."""
        self.write_rows(table, rows, values)

    def agree_on(self, tensors: Sequence[Tensor]) -> None:
        """See recsys.tables.upkeep.Rows; here there is one process."""

    def _grow_rows(self, physical: Mapping[str, PhysicalTable]) -> None:
        self.matrices = nn.ModuleList(each.grown(physical[each.physical.name]) for each in self._own_matrices())
