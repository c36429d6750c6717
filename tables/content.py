"""Vectors of items' content as a table: frozen rows and a learned projection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Budget, Bytes, Fraction, budget_of, exactly_one
from recsys.tables.item_vectors import RandomVectors, StoredVectors, VectorSource
from recsys.tables.lookups.optimizers import Frozen
from recsys.tables.physical import PhysicalTable, named_generator
from recsys.tables.routing.hashes import mix64

_ALIGNMENT = 4
_BLOCK_ROWS = 1 << 16


class ContentTable(Table):
    """What an item is, instead of which: its given vector, which is not trained, and a projection to D, which is.

    PCA to fewer columns is that of "Compressing content vectors" (arXiv:2507.05006): directions of greatest variance.

    Shape:
        ids [N] -> embeddings [N, D]; memory V frozen rows of T + 1 values, up to the next multiple of 4, and a
        projection of as many rows of D.

    Differs from the usual linear layer: the mean vector is taken off, all are scaled alike to a mean square of 1, and
    the projection has no bias; an id without a vector, zeros, has a vector of its own kind, which is trained.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        vectors: where ids' vectors come from; or a tensor [V, T], zeros for an id without one.
        row_dim: columns that PCA leaves; by default all T; or give one of:
        budget_bytes: bytes that rows and projection may take; PCA leaves as many columns as fit.
        budget_fraction: the same as a fraction of the full table's bytes.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if vectors cannot be read or do not fit the table, or several sizes are given.
    """

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        vectors: VectorSource | Tensor,
        row_dim: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.init_std = init_std
        is_drawn = isinstance(vectors, RandomVectors | StoredVectors)
        with torch.device("cpu"):  # what is read has values, also where parameters are to have none yet
            given = vectors if isinstance(vectors, Tensor) else vectors.load(f"ContentTable '{name}'", num_embeddings)
            self._check(given, None if is_drawn else num_embeddings)
            self.awaits_checkpoint = is_stored = isinstance(vectors, StoredVectors)
            width = self._width(given.shape[1], is_stored, row_dim, budget_bytes, budget_fraction)
            self.row_dim = _aligned(width) if is_drawn else _aligned(width + 1)
            self._width_kept = width
            self._rows = None if is_drawn else _rows_of(given.float(), width, self.row_dim)
            self._is_drawn = isinstance(vectors, RandomVectors)
            projection = self._initial_projection(self.row_dim if is_drawn else width)
        self.projection = nn.Parameter(projection.to(torch.get_default_device()))
        self._made_of = dict(self.arguments)
        if not is_drawn:
            # What a checkpoint says of this table; the rows are among those of its matrices.
            self.arguments |= {"vectors": StoredVectors(self.row_dim, f"{checksum(given)} in {width}")}
            self.arguments |= {"row_dim": None, "budget_bytes": None, "budget_fraction": None}

    def built_again(self) -> Self:
        """Of the vectors that this one was made of."""
        made_of: dict[str, Any] = dict(self._made_of)
        with torch.device("cpu"):
            return type(self)(**made_of)

    def _check(self, given: Tensor, num_rows: int | None) -> None:
        if not bool(given.float().isfinite().all()):
            raise ValueError(f"ContentTable '{self.name}': vectors must be finite numbers of float32.")
        if given.dim() != 2 or given.shape[1] < 1 or (num_rows is not None and len(given) != num_rows):
            raise ValueError(
                f"ContentTable '{self.name}': vectors must be [num_embeddings={self.num_embeddings}, T], got "
                f"{list(given.shape)}."
            )

    def _width(
        self,
        most: int,
        is_stored: bool,
        row_dim: int | None,
        budget_bytes: Bytes | None,
        budget_fraction: Fraction | None,
    ) -> int:
        """Columns that are kept."""
        if is_stored and not (row_dim is None and budget_bytes is None and budget_fraction is None):
            raise ValueError(f"ContentTable '{self.name}': StoredVectors have their width; leave sizes out.")
        given = {"row_dim": row_dim, "budget_bytes": budget_bytes, "budget_fraction": budget_fraction}
        if any(value is not None for value in given.values()):
            exactly_one(f"ContentTable '{self.name}'", **given)
        budget: Budget | None = budget_of(self, budget_bytes, budget_fraction)
        if budget is not None:
            each = 4 * (self.num_embeddings + self.embedding_dim)
            row_dim = budget.largest(lambda width: each * _aligned(width + 1), 1, most)
        if row_dim is None:
            return most
        self.require("row_dim", row_dim, 1, most, "the width of the vectors, ")
        return row_dim

    @torch.no_grad()
    def _initial_projection(self, width: int) -> Tensor:
        """Semi-orthogonal, scaled to the deviation asked for; the row of ids without a vector apart."""
        generator = named_generator(f"{self.name}/projection")
        projection = torch.zeros(self.row_dim, self.embedding_dim)
        directions = nn.init.orthogonal_(torch.empty(width, self.embedding_dim), generator=generator)
        square = directions.square().sum() / self.embedding_dim
        if self._rows is not None:
            known = self._rows[self._rows[:, width] == 0][:, :width]
            if len(known):
                total = sum((part @ directions).double().square().sum() for part in known.split(_BLOCK_ROWS))
                square = torch.as_tensor(total) / (len(known) * self.embedding_dim)
        projection[:width] = directions * (self.init_std / square.clamp(min=1e-24).sqrt())
        if width < self.row_dim:
            bound = 3**0.5 * self.init_std
            projection[width].uniform_(-bound, bound, generator=generator)
        return projection

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix that is not trained."""
        std = 1.0 if self._is_drawn else 0.0
        return (
            PhysicalTable(self.name, self.num_embeddings, self.row_dim, std, optimizer=Frozen(), values=self._rows),
        )

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id is the row."""
        return ids

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """Project every table's rows with its own matrix: one batched product for the whole group."""
        projected = torch.bmm(rows.transpose(0, 1), parameters["projection"].to(rows.dtype))
        return projected.transpose(0, 1)

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """The projection by least squares; what items are stays as it is."""
        given = rows[self.name]
        gram = torch.zeros(self.row_dim, self.row_dim, dtype=torch.float64)
        right = torch.zeros(self.row_dim, self.embedding_dim, dtype=torch.float64)
        for part, some in zip(vectors.split(_BLOCK_ROWS), ids.split(_BLOCK_ROWS), strict=True):
            gram.addmm_(given[some].double().t(), given[some].double())
            right.addmm_(given[some].double().t(), part.double())
        self.projection.copy_(torch.linalg.pinv(gram, rtol=1e-12, hermitian=True) @ right)

    def grown(self, num_embeddings: int) -> Self:
        """The same projection; new ids have no vector of their own, or a random one where all are random.

        Raises:
            ValueError: if the vectors are those of a checkpoint, or there would be fewer ids.
        """
        if isinstance(self._made_of["vectors"], StoredVectors):
            raise ValueError(
                f"ContentTable '{self.name}' cannot grow to num_embeddings={num_embeddings}: its vectors are those of "
                "a checkpoint; make a new table of the vectors of all ids."
            )
        self.require("num_embeddings", num_embeddings, self.num_embeddings)
        made_of: dict[str, Any] = {**self._made_of, "num_embeddings": num_embeddings}
        if not self._is_drawn:
            owner, source = f"ContentTable '{self.name}'", made_of["vectors"]
            given = source if isinstance(source, Tensor) else source.load(owner, self.num_embeddings)
            made_of["vectors"] = torch.cat([given, given.new_zeros(num_embeddings - len(given), given.shape[1])])
            made_of |= {"row_dim": self._width_kept, "budget_bytes": None, "budget_fraction": None}
        return type(self)(**made_of)

    def likeness(self) -> Tensor | None:
        """A number of the vector that is given for an id."""
        return None if self._rows is None else _keys(self._rows).sum(1)

    def signature(self) -> tuple[object, ...]:
        """Tables of one width are projected together, whichever vectors they have."""
        return (type(self), self.row_dims, self.embedding_dim)


def checksum(vectors: Tensor) -> str:
    """Of all values and their places."""
    rows = _keys(vectors.float()).sum(1)
    total = int(mix64(rows, torch.arange(len(rows))).sum())
    return f"{total & ((1 << 64) - 1):016x}"


def _keys(values: Tensor) -> Tensor:
    """Numbers of values [N, T] that depend on their column; zero has two signs and one number."""
    bits = (values + 0.0).contiguous().view(torch.int32).long()
    return mix64(bits, torch.arange(values.shape[1]))


def _aligned(width: int) -> int:
    return -(-width // _ALIGNMENT) * _ALIGNMENT


def _rows_of(vectors: Tensor, width: int, row_dim: int) -> Tensor:
    """Rows [V, row_dim]: `width` columns of centred and scaled vectors, then 1 where there is none, then zeros."""
    known = vectors.any(1)
    rows = torch.zeros(len(vectors), row_dim)
    rows[:, width] = (~known).float()
    if not bool(known.any()):
        return rows
    centred = vectors[known] - vectors[known].mean(0)
    if width < vectors.shape[1]:
        centred = centred @ _leading_directions(centred, width)
    scale = centred.square().mean().sqrt().clamp(min=1e-12)
    rows[known, :width] = centred / scale
    return rows


def _leading_directions(centred: Tensor, width: int) -> Tensor:
    """Directions [T, width] of greatest variance, each with its largest entry positive."""
    covariance = sum(part.double().t() @ part.double() for part in centred.split(_BLOCK_ROWS))
    directions = torch.linalg.eigh(torch.as_tensor(covariance)).eigenvectors.flip(1)[:, :width]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return (directions * largest.sign()).float()
