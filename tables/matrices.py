"""The rows of Embeddings as ordinary parameters, each matrix a module of its own, shared where tables say so."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from recsys.tables.base import Table
from recsys.tables.lookups.optimizers import Frozen
from recsys.tables.physical import PhysicalTable


class Matrix(nn.Module):
    """The rows of a physical table, a parameter. As a module it stays one matrix for all who share it, moved or copied.

    Shape:
        rows [R, row_dim]

    Args:
        physical: what it holds.
        dtype: of the rows, unless the physical table has its own.
        device: where they live; on "meta" they have no values.
    """

    def __init__(self, physical: PhysicalTable, dtype: torch.dtype, device: torch.device) -> None:
        nn.Module.__init__(self)
        self.physical = physical
        rows = torch.empty(physical.num_rows, physical.row_dim, dtype=physical.dtype or dtype, device=device)
        self.rows = nn.Parameter(rows, requires_grad=not isinstance(physical.optimizer, Frozen))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh rows, by torch's present seed and the matrix' name."""
        fill(self.rows, self.physical)

    def grown(self, physical: PhysicalTable) -> Matrix:
        """This one if it has as many rows, else another that begins with them."""
        if physical.num_rows == self.physical.num_rows:
            return self
        more = type(self)(physical, self.rows.dtype, torch.device("meta"))
        more.rows = grown_rows(self.rows, physical)
        return more

    def extra_repr(self) -> str:
        """Name and size."""
        return f"'{self.physical.name}', {self.physical.num_rows}x{self.physical.row_dim}"


class SparseMatrix(Matrix, nn.EmbeddingBag):
    """With sparse gradients, which DistributedDataParallel expects of nn.Embedding and nn.EmbeddingBag alone."""

    sparse = True


@torch.no_grad()
def fill(rows: Tensor, physical: PhysicalTable) -> None:
    """Overwrite with fresh rows, block by block; where there is no memory, nothing."""
    if rows.is_meta:
        return
    for start, block in physical.initial_blocks(0, physical.num_rows, rows.dtype):
        rows[start : start + len(block)].copy_(block)


@torch.no_grad()
def grown_rows(rows: nn.Parameter, physical: PhysicalTable) -> nn.Parameter:
    """A parameter of more rows that begins with these; the others are fresh."""
    more = rows.new_empty(physical.num_rows, physical.row_dim)
    fill(more, physical)
    more[: len(rows)] = rows
    return nn.Parameter(more, requires_grad=rows.requires_grad)


@dataclass
class _Sharing:
    """Who reads a matrix that may be shared, and the version that its rows had when they were drawn."""

    version: int | None
    readers: weakref.WeakSet[Table] = field(default_factory=weakref.WeakSet)


_newest: weakref.WeakValueDictionary[object, Matrix] = weakref.WeakValueDictionary()
_sharing: weakref.WeakKeyDictionary[Matrix, _Sharing] = weakref.WeakKeyDictionary()


def matrix_of(
    table: Table, physical: PhysicalTable, dtype: torch.dtype, device: torch.device, *, sparse: bool
) -> Matrix:
    """A matrix for a table to read: a new one, or the one of a storage that another table began to use.

    A matrix whose name is not the table's own, as UnifiedTable's `storage`, is shared by all tables that name it, as in
    a collection, as long as they are of one model: a matrix that was trained, loaded or written to since it was drawn
    is not joined, nor one that a table of the same name reads already, so that the second of two models built alike has
    rows of its own. Either way rows start as the seed and the name say.
    """
    kind = SparseMatrix if sparse and not isinstance(physical.optimizer, Frozen) else Matrix
    if physical.name == table.name or physical.name.startswith(f"{table.name}/"):
        return kind(physical, dtype, device)
    key = (type(table), physical, dtype, device, kind, torch.initial_seed())
    matrix = _newest.get(key)
    if matrix is None or not _may_join(matrix, table, device):
        matrix = kind(physical, dtype, device)
        _newest[key] = matrix
        _sharing[matrix] = _Sharing(_version(matrix.rows))
    _sharing[matrix].readers.add(table)
    return matrix


def _version(rows: Tensor) -> int | None:
    """How often rows were written to, which is not counted of those made in inference mode."""
    return None if rows.is_inference() else rows._version


def _may_join(matrix: Matrix, table: Table, device: torch.device) -> bool:
    rows, sharing = matrix.rows, _sharing[matrix]
    is_fresh = _version(rows) == sharing.version and rows.grad is None and rows.device == device
    return is_fresh and table.name not in {reader.name for reader in sharing.readers}
