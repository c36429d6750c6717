"""Mixed dimension tables: narrow rows and a projection (Ginart et al., ISIT 2021, arXiv:1909.11810)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Budget, Bytes, Fraction, size_or_budget
from recsys.tables.numbers import check_number
from recsys.tables.physical import PhysicalTable, named_generator


@typed
def power_law_dims(
    num_embeddings: Sequence[int], embedding_dim: int, *, alpha: float = 0.3, multiple_of: int = 4
) -> list[int]:
    """Row widths that shrink with the size of the table: d ~ V ** -alpha, the smallest table at full width.

    Source: arXiv:1909.11810, algorithm 2, popularity of a row taken as 1 / V as the paper does for CTR. Widths are
    rounded to powers of two.

    Args:
        num_embeddings: V of each table, all at least 1.
        embedding_dim: D, the widest row.
        alpha: in [0, 1]; 0 gives every table width D, 1 about equal memory.
        multiple_of: smallest width; the fused kernels want 4.

    Returns: one width per table in [multiple_of, D], in input order.

    Raises:
        ValueError: if alpha is outside [0, 1], or a size below 1.

    >>> power_law_dims([10, 1000], 16, alpha=0.5, multiple_of=1)
    [16, 2]
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"power_law_dims: alpha must be in [0, 1], got {alpha!r}.")
    for name, values in (
        ("num_embeddings", num_embeddings),
        ("embedding_dim", [embedding_dim]),
        ("multiple_of", [multiple_of]),
    ):
        for value in values:
            check_number("power_law_dims", name, value, 1)
    smallest = min(num_embeddings, default=1)
    return [
        _power_of_two(embedding_dim * (size / smallest) ** -alpha, embedding_dim, multiple_of)
        for size in num_embeddings
    ]


def _power_of_two(width: float, embedding_dim: int, multiple_of: int) -> int:
    rounded = 2 ** round(math.log2(width))
    return int(min(embedding_dim, max(multiple_of, rounded)))


@typed
def power_law_dims_for_budget(
    num_embeddings: Sequence[int], embedding_dim: int, budget_bytes: int, *, alpha: float = 0.3, multiple_of: int = 4
) -> list[int]:
    """The widest power-law widths whose rows and projections together fit a byte budget, never exceeding it.

    Args:
        num_embeddings: V of each table.
        embedding_dim: D, the widest row.
        budget_bytes: bytes of all float32 rows and projections together.
        alpha: how fast widths shrink, in [0, 1].
        multiple_of: smallest width.

    Raises:
        ValueError: if the narrowest widths need more, with the bytes they need.
    """
    check_number("power_law_dims_for_budget", "alpha", alpha, 0, 1)
    if not num_embeddings or min(num_embeddings) < 1:
        raise ValueError(
            f"power_law_dims_for_budget: num_embeddings must all be at least 1, got {list(num_embeddings)}."
        )

    def dims_at(scale: float) -> list[int]:
        widths = [_power_of_two(max(scale * size**-alpha, 1e-9), embedding_dim, multiple_of) for size in num_embeddings]
        # Where a projection takes more than it saves, the table stays at full width.
        return [
            embedding_dim if (size + embedding_dim) * width >= size * embedding_dim else width
            for size, width in zip(num_embeddings, widths, strict=True)
        ]

    smallest_bytes = mixed_dim_bytes(num_embeddings, dims_at(0), embedding_dim)
    if smallest_bytes > budget_bytes:
        raise ValueError(
            f"power_law_dims_for_budget: budget_bytes={budget_bytes} cannot be met; "
            f"the smallest budget that can is {smallest_bytes} bytes."
        )
    low, high = -20.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        fits = mixed_dim_bytes(num_embeddings, dims_at(math.exp(middle)), embedding_dim) <= budget_bytes
        low, high = (middle, high) if fits else (low, middle)
    return dims_at(math.exp(low))


def mixed_dim_bytes(num_embeddings: Sequence[int], row_dims: Sequence[int], embedding_dim: int) -> int:
    """Bytes of float32 rows and projections; a table of full width needs no projection."""
    rows = sum(size * dim for size, dim in zip(num_embeddings, row_dims, strict=True))
    projections = sum(dim * embedding_dim for dim in row_dims if dim < embedding_dim)
    return 4 * (rows + projections)


def initial_projection(name: str, row_dim: int, embedding_dim: int) -> Tensor:
    """[row_dim, D], semi-orthogonal and scaled: a table of this name gives vectors as large as its rows."""
    projection = torch.empty(row_dim, embedding_dim)
    gain = math.sqrt(embedding_dim / row_dim)
    return nn.init.orthogonal_(projection, gain=gain, generator=named_generator(f"{name}/projection"))


class MixedDimTable(Table):
    """Rows of row_dim values and a learned projection to D, without bias; at full width, a FullTable.

    Shape:
        ids [N] -> embeddings [N, D]; memory V rows of row_dim and a projection of row_dim x D.

    Differs from the paper: the projection starts semi-orthogonal and scaled, where the authors draw Xavier values, so
    that the projected vector has exactly the standard deviation asked for.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        row_dim: width of the rows, in [1, D]; or give one of:
        budget_bytes: float32 bytes for rows and projection; the widest that fit are taken.
        budget_fraction: the same as a fraction of the full table's bytes.
        alpha: the power law: d = D * (V / full_width_rows) ** -alpha, rounded to a power of two.
        full_width_rows: with alpha, the largest table that keeps full width.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: unless exactly one size is given and in range.
    """

    sizes = Table.sizes | {"row_dim", "alpha", "full_width_rows"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        row_dim: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        alpha: float | None = None,
        full_width_rows: int = 200,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.init_std = init_std
        self.require("full_width_rows", full_width_rows, 1)
        budget = size_or_budget(self, budget_bytes, budget_fraction, row_dim=row_dim, alpha=alpha)
        if budget is not None:
            row_dim = self._dim_within(budget)
        if alpha is not None:
            sizes = [min(full_width_rows, num_embeddings), num_embeddings]
            row_dim = power_law_dims(sizes, embedding_dim, alpha=alpha)[1]
        assert row_dim is not None
        self.require("row_dim", row_dim, 1, embedding_dim, "embedding_dim")
        self.row_dim = row_dim
        if row_dim < embedding_dim:
            self.projection = nn.Parameter(initial_projection(name, row_dim, embedding_dim))

    def _dim_within(self, budget: Budget) -> int:
        """The widest rows that fit; full width, without a projection, may take less than any other."""

        def count_bytes(row_dim: int) -> int:
            return mixed_dim_bytes([self.num_embeddings], [row_dim], self.embedding_dim)

        full_bytes = count_bytes(self.embedding_dim)
        if full_bytes <= budget.num_bytes:
            return self.embedding_dim
        budget.require(min(full_bytes, count_bytes(1)))
        return budget.largest(count_bytes, 1, max(1, self.embedding_dim - 1))

    @property
    def keeps_vectors(self) -> bool:
        """At full width, row i is the vector of id i."""
        return self.row_dim == self.embedding_dim

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One narrow matrix."""
        return (PhysicalTable(self.name, self.num_embeddings, self.row_dim, self.init_std),)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id is the row."""
        return ids

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """The first row_dim right singular vectors, scaled as the projection starts, and what they make of vectors."""
        if self.keeps_vectors:
            rows[self.name][ids] = vectors
            return
        gain = math.sqrt(self.embedding_dim / self.row_dim)
        _, directions = torch.linalg.eigh(vectors.double().t() @ vectors.double())
        first = directions[:, -self.row_dim :].flip(1).to(vectors.dtype)
        self.projection.copy_(gain * first.t())
        rows[self.name][ids] = vectors @ first / gain

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """A row more for each id, and the same projection."""
        return {
            "num_embeddings": num_embeddings,
            "row_dim": self.row_dim,
            "alpha": None,
            "budget_bytes": None,
            "budget_fraction": None,
        }

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """Project every table's rows with its own matrix: one batched product for the whole group."""
        if self.row_dim == self.embedding_dim:
            return rows
        projected = torch.bmm(rows.transpose(0, 1), parameters["projection"].to(rows.dtype))
        return projected.transpose(0, 1)
