"""One table as a drop-in for nn.Embedding: the slow path, and the oracle of the fused one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.argument_types import fits_memory, typed
from recsys.tables.base import Table
from recsys.tables.computed_weight import ComputedWeight
from recsys.tables.contract_checks import check_routed
from recsys.tables.embedding_rows import EmbeddingRows
from recsys.tables.fitting import Fitted, check_vectors, fit, grown_table
from recsys.tables.full_rows import FullRows
from recsys.tables.input_checks import check_ids, check_table, check_whole
from recsys.tables.placement import check_floats, check_same_device, checked_device
from recsys.tables.storages import unique_physical_tables
from recsys.tables.traced import call_of, is_traced
from recsys.tables.transforms import allow_any_shape, allow_sparse_gradients


class Embedding(EmbeddingRows):
    """A table in place of nn.Embedding: ordinary parameters, any torch optimizer.

    `weight` is the parameter itself for a table that keeps all vectors, FullTable: such an Embedding is an
    nn.Embedding, and reads and writes its state dicts. For any other table it is the V x D matrix of vectors, computed
    when asked for and differentiable; writing to it raises, see ComputedWeight.

    Tables that name one storage, as UnifiedTables do, share its rows; see `matrix_of`.

    In training mode every forward pass is one batch to a table that takes note of ids: rows that it gives to other ids
    start afresh, but the optimizer's state of them is out of reach here, so choose one without state. Frozen rows stay
    with their ids. One of several processes would not see the ids of the others, and is refused.

    Differs from nn.Embedding: vectors start as the table says (uniform, standard deviation init_std), not with
    deviation 1; an id out of range is a ValueError that names it.

    Shape:
        ids [...] -> [..., D]

    Args:
        table: the method; it says how many rows there are and how they are combined.
        padding_idx: an id that gets no gradient and whose vector starts as zeros; negative ones count from the end.
            Where rows are shared by ids, its vector stays zeros.
        max_norm: refused unless None: rows are shared by ids and have no norm of an id's vector.
        scale_grad_by_freq: refused if true, for the same reason.
        sparse: make sparse gradients, for torch.optim.SparseAdam or SGD; dense ones under torch.func. Rows that padding
            alone reads are not in them, except, with zeros, in a compiled program.
        device: of the parameters; by default torch's. On "meta" they have no values: `to_empty` derives what ids are
            routed by, `reset_parameters` draws the rest.
        dtype: of the parameters; by default torch's.

    Raises:
        ValueError: if padding_idx is outside [-num_embeddings, num_embeddings), or what is refused is asked for.

    >>> from recsys.tables import QRTable
    >>> Embedding(QRTable("item", 1_000_000, 16))(torch.tensor([[1, 999_999]])).shape
    torch.Size([1, 2, 16])
    """

    table: Table
    weight: Tensor
    max_norm = None
    norm_type = 2.0
    scale_grad_by_freq = False

    def __new__(cls, table: Table | None = None, *args: Any, **kwargs: Any) -> Self:
        """Of a table that keeps all vectors, one that is torch's own kind; copies are made without arguments."""
        if table is not None:
            check_table(cls.__name__, table)
        full = cls._full_kind() if table is not None and table.keeps_vectors else cls
        made: Self = super().__new__(full)
        return made

    @classmethod
    def _full_kind(cls) -> type[Self]:
        """The class for tables that keep all vectors."""
        return FullEmbedding if cls is Embedding else cls  # type: ignore[return-value]

    @typed
    def __init__(
        self,
        table: Table,
        *,
        padding_idx: int | None = None,
        max_norm: None = None,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        nn.Module.__init__(self)
        _refuse(table, max_norm=max_norm, scale_grad_by_freq=scale_grad_by_freq or None)
        owner = f"{type(table).__name__} '{table.name}'"
        device = torch.get_default_device() if device is None else checked_device(owner, device)
        dtype = torch.get_default_dtype() if dtype is None else dtype
        check_floats(owner, dtype)
        self.table = table.to(device=device, dtype=dtype)
        self._dtype = dtype
        self.padding_idx = padding_idx
        self.sparse = sparse
        self._make_rows(device, dtype)

    def reset_parameters(self) -> None:
        """Start afresh, as when built with torch's present seed; so does what shares the rows."""
        self.table.reset_parameters()
        for matrix in self._own_matrices():
            matrix.reset_parameters()

    @property
    def num_embeddings(self) -> int:
        """V, number of ids."""
        return self.table.num_embeddings

    @property
    def embedding_dim(self) -> int:
        """D, width of a vector."""
        return self.table.embedding_dim

    def __getattr__(self, name: str) -> Any:
        """Compute the weight: every time it is asked for costs a forward pass of all ids."""
        if name == "weight" and not isinstance(self, FullRows):
            return ComputedWeight.of(self.read(torch.arange(self.num_embeddings, device=self.device)))
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse another weight where it is computed, which nothing would read, and a padding that is no id."""
        if name == "weight" and not isinstance(self, FullRows):
            raise AttributeError(
                f"{type(self.table).__name__} '{self.table.name}': weight is computed from fewer rows and cannot be "
                "replaced or tied; score with recsys.tables.TiedHead, or replace the Embedding."
            )
        if name == "padding_idx" and value is not None:
            num_ids = self.table.num_embeddings
            self.table.require(name, value, -num_ids, num_ids - 1)
            value %= num_ids
        super().__setattr__(name, value)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of ids of any shape.

        Raises:
            ValueError: if ids are no integers, or on the CPU outside [0, num_embeddings); in a compiled or exported
                program, and on a GPU, ids out of range are a RuntimeError. Also if the table takes note of ids, in
                training mode in one of several processes.
        """
        if is_traced(ids):
            return call_of(self, ids)
        self._check_ids(ids)
        self._observe(ids)
        return self.read(ids)

    def _check_ids(self, ids: Tensor) -> None:
        check_ids(ids, self.num_embeddings, [self.table.name])
        check_same_device(f"{type(self.table).__name__} '{self.table.name}'", "ids", ids, self.device)

    def read(self, ids: Tensor) -> Tensor:
        """Vectors of ids in range, of any shape, with gradients: unchecked, and no table takes note of them."""
        check_whole(self.weights, self.table, ids)
        flat = ids.reshape(-1).long()  # narrower integers would overflow where they are multiplied
        if self.padding_idx is None:
            vectors = self._vectors(flat)
        elif self.sparse and allow_any_shape():
            # Sparse gradients list every row that was read, those with zeros too.
            kept = (flat != self.padding_idx).nonzero().squeeze(1)
            found = self._vectors(flat[kept])
            vectors = found.new_zeros(flat.shape[0], self.embedding_dim).index_copy(0, kept, found)
        else:
            vectors = self._vectors(flat).masked_fill((flat == self.padding_idx).unsqueeze(1), 0)
        return vectors.reshape(*ids.shape, self.embedding_dim)

    def _vectors(self, ids: Tensor) -> Tensor:
        """Ids [N] -> [N, D]."""
        if not self._reads:
            return self.table.vectors_of(ids.new_zeros(ids.shape[0], 0, dtype=self.dtype), ids)
        rows = self.table.rows_of(ids)
        check_routed(self.table, rows, sum(len(slots) for _, slots in self._reads), ids.shape[0])
        weights = self.weights
        dtype = self.dtype
        pieces = [
            self._read(weights[matrix], rows[slots[0] : slots[-1] + 1].t()).to(dtype) for matrix, slots in self._reads
        ]
        return self.table.vectors_of(pieces, ids)

    def _read(self, weight: Tensor, rows: Tensor) -> Tensor:
        """Rows [N, K] of a matrix, side by side [N, K * W]; for -1 zeros, which touch nothing in the backward pass."""
        if not weight.dtype.is_floating_point:
            return weight[rows.clamp(min=0)].masked_fill(rows.unsqueeze(2) < 0, 0).flatten(1)
        sparse = self.sparse and weight.requires_grad and allow_sparse_gradients()
        if not self.table.leaves_out:
            return F.embedding(rows, weight, sparse=sparse).flatten(1)
        if not (sparse and allow_any_shape()):
            found = F.embedding(rows.clamp(min=0), weight, sparse=sparse)
            return found.masked_fill(rows.unsqueeze(2) < 0, 0).flatten(1)
        flat = rows.reshape(-1)
        present = (flat >= 0).nonzero().squeeze(1)
        found = F.embedding(flat[present], weight, sparse=True)
        found = found.new_zeros(flat.shape[0], weight.shape[1]).index_copy(0, present, found)
        return found.view(*rows.shape, weight.shape[1]).flatten(1)

    @torch.no_grad()
    def vectors(self, ids: Tensor) -> Tensor:
        """Vectors of ids of any shape, to look at: without gradient, and no table takes note of them."""
        self._check_ids(ids)
        return self.read(ids)

    def all_vectors(self, chunk: int = 1 << 16) -> Iterator[Tensor]:
        """The vectors of all ids in their order, [chunk, D] at a time.

        Raises:
            ValueError: if chunk is below 1.
        """
        self.table.require("chunk", chunk, 1)
        for first in range(0, self.num_embeddings, chunk):
            last = min(first + chunk, self.num_embeddings)
            yield self.vectors(torch.arange(first, last, device=self.device))

    def fit_(self, weight: Tensor) -> float:
        """Overwrite the rows so that the vectors are closest, in squares, to given ones: equal for a FullTable.

        Means for hashing and rows side by side, least squares for sums, the best product in every column for QRTable,
        singular vectors for MixedDimTable; each method's `fit` says how. Computed in float32 on the CPU, with the error
        that evaluation mode has; what shares the rows changes too.

        Shape:
            weight [V, D]

        Returns: |weight - vectors| / |weight|, by Frobenius' norm.

        Raises:
            ValueError: on another shape, values that are not finite, or a method that has no such rows.
        """
        return fit(self, weight)

    @classmethod
    def from_pretrained(
        cls, weight: Tensor, table: Table, *, padding_idx: int | None = None, sparse: bool = False
    ) -> Fitted[Self]:
        """An Embedding of a table that starts from given vectors, and how far from them it is; see `fit_`.

        Differs from nn.Embedding.from_pretrained: nothing is frozen; `requires_grad_(False)` freezes.

        Shape:
            weight [V, D]

        Args:
            weight: the vectors; their dtype and device are the Embedding's.
            table: the method, of as many ids and the same width.
            padding_idx: see Embedding.
            sparse: see Embedding.

        Raises:
            ValueError: see `fit_`.
        """
        check_table(cls.__name__, table)
        check_vectors(table, weight)
        made = cls(table, padding_idx=padding_idx, sparse=sparse, device=weight.device, dtype=weight.dtype)
        return Fitted(made, made.fit_(weight))

    def grow(self, num_embeddings: int) -> Self:
        """An Embedding of more ids, whose old ids keep their vectors; the new ones start as the table says.

        Matrices that stay as they are are shared with this one; larger ones are new parameters, which an optimizer must
        be given.

        Raises:
            ValueError: if the method cannot grow so far without moving its old ids, or there would be fewer ids.
        """
        grown = copy.copy(self)
        grown._modules, grown._parameters = dict(self._modules), dict(self._parameters)
        with fits_memory(f"{type(self.table).__name__} '{self.table.name}' of num_embeddings={num_embeddings}"):
            grown.table = grown_table(self.table, num_embeddings).to(device=self.device, dtype=self.dtype)
            grown._grow_rows(unique_physical_tables([grown.table]))
        return grown

    def extra_repr(self) -> str:
        """What was asked for beside the table."""
        asked = {"padding_idx": self.padding_idx, "sparse": self.sparse or None}
        return ", ".join(f"{name}={value}" for name, value in asked.items() if value is not None)


class FullEmbedding(FullRows, Embedding, nn.Embedding):  # type: ignore[misc, override]
    """What `Embedding` makes of a table that keeps all vectors: an nn.Embedding whose weight starts as the table says.

    See Embedding for the arguments.
    """


def _refuse(table: Table, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(
                f"{type(table).__name__} '{table.name}': {name}={value!r} is not supported, since rows may be "
                f"shared by ids; leave {name} out."
            )
