"""Tensor-train tables: an id's vector is a product of three small matrices, one from each of three cores.

Source: Yin et al., "TT-Rec: Tensor train compression for deep learning recommendation models" (MLSys 2021),
arXiv:2101.11714.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Budget, Bytes, Fraction, size_or_budget
from recsys.tables.distinct import first_of_each
from recsys.tables.grouped import grouped_product
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.partitions import ceil_div, ceil_root
from recsys.tables.tensor_train_fit import fit_cores

MAX_BUDGET_ROW_DIM = 2048
"""A budget buys no wider rows of the middle core: every id reads one, and FBGEMM's GPU kernels take none wider."""

_USED_ENOUGH = 0.95
"""Of a budget: what ranks leave unused beyond that buys rows."""

Ranks = tuple[int, int]


class TTTable(Table):
    """The digits of an id, (i1, i2, i3) in a mixed radix, pick a matrix of each core, and their product is the vector.

    D = d1 d2 d3; the matrices are d1 x R1, R1 x (d2 R2) and R2 x d3, each kept as one row. Every id has digits of its
    own. An id reads R1 d2 R2 values and more, so that duplicates cost: where ids are on a CPU, a collection reads and
    multiplies those of a batch once.

    Shape:
        ids [N] -> embeddings [N, D]; memory three matrices of about V ** (1 / 3) rows of d1 R1, R1 d2 R2 and R2 d3.

    Differs from the paper: cores start uniform with the deviation that gives the product init_std, where the authors
    draw from a normal distribution without its middle; the two ranks may differ, to use up a budget.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        rank: R1 = R2, or the two of them, or the largest that adds anything where that is less; the paper has 16, 32
            and 64. Or give
        budget_bytes: bytes the cores may take in float32; ranks grow until a row of the middle core has 2048 values,
            and then, without num_digits, the middle core gets more rows, and the others fewer.
        budget_fraction: the same as a fraction of the full table's bytes.
        num_digits: rows of each core, whose product is at least V; None takes three as alike as there are.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: unless exactly one size is given, or if it is below rank 1, or digits do not tell V ids apart.
    """

    linear = False
    repeats_cost = True
    shares_rows = True

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        rank: int | Ranks | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        num_digits: tuple[int, int, int] | None = None,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.init_std = init_std
        self.dims = _three_factors(embedding_dim)
        self._take_digits(self._checked_digits(num_digits))
        budget = size_or_budget(self, budget_bytes, budget_fraction, rank=rank)
        if budget is not None:
            if num_digits is None:
                self._widen_middle(budget)
            self.ranks = self._ranks_within(budget)
        else:
            assert rank is not None
            for each in rank if isinstance(rank, Sequence) else [rank]:
                self.require("rank", each, 1)
            self.ranks = self._capped(rank)
        _, second, third = self.num_digits
        self.register_constants(divisor=[second * third, third, 1], modulus=list(self.num_digits))

    def _take_digits(self, num_digits: tuple[int, int, int]) -> None:
        """Have cores of so many rows, which bounds the ranks that add anything."""
        self.num_digits = num_digits
        rows = [count * dim for count, dim in zip(num_digits, self.dims, strict=True)]
        self._highest = (min(rows[0], rows[1] * rows[2]), min(rows[2], rows[0] * rows[1]))

    def _widen_middle(self, budget: Budget) -> None:
        """If ranks as high as they may be leave some of a budget, as many rows of the middle core as it buys."""
        equal, highest = self.num_digits, math.isqrt(MAX_BUDGET_ROW_DIM // self.dims[1])
        if self._bytes_of(self._capped(highest)) >= _USED_ENOUGH * budget.num_bytes:
            return

        def num_bytes(middle: int) -> int:
            outer = ceil_root(ceil_div(self.num_embeddings, middle), 2)
            self._take_digits((ceil_div(self.num_embeddings, middle * outer), middle, outer))
            return self._bytes_of(self._capped(highest))

        if num_bytes(equal[1]) > budget.num_bytes:
            self._take_digits(equal)
            return
        num_bytes(budget.largest(num_bytes, equal[1], self.num_embeddings))

    def _checked_digits(self, num_digits: tuple[int, int, int] | None) -> tuple[int, int, int]:
        if num_digits is None:
            radix = ceil_root(self.num_embeddings, 3)
            return ceil_div(self.num_embeddings, radix * radix), radix, radix
        if len(num_digits) != 3:
            raise ValueError(f"TTTable '{self.name}': num_digits must be three numbers, got {list(num_digits)}.")
        first, second, third = num_digits
        for count in num_digits:
            self.require("num_digits", count, 1)
        if first * second * third < self.num_embeddings:
            raise ValueError(
                f"TTTable '{self.name}': num_digits must tell num_embeddings={self.num_embeddings} ids apart, got "
                f"{list(num_digits)}, which tell {first * second * third}."
            )
        return first, second, third

    def _capped(self, rank: int | Ranks) -> Ranks:
        """Ranks above those of the whole matrix, cut at either bond, add nothing."""
        left, right = rank if isinstance(rank, Sequence) else (rank, rank)
        return min(left, self._highest[0]), min(right, self._highest[1])

    def _row_dims(self, ranks: Ranks) -> tuple[int, int, int]:
        (left, right), (first, middle, last) = ranks, self.dims
        return first * left, left * middle * right, right * last

    def _bytes_of(self, ranks: Ranks) -> int:
        return 4 * sum(rows * dim for rows, dim in zip(self.num_digits, self._row_dims(ranks), strict=True))

    def _ranks_within(self, budget: Budget) -> Ranks:
        """The ranks, within a factor of two of each other, with the largest middle core that fits."""
        widest = MAX_BUDGET_ROW_DIM // self.dims[1]
        equal = budget.largest(lambda rank: self._bytes_of(self._capped(rank)), 1, max(1, math.isqrt(widest)))
        best = self._capped(equal)
        for left in range(max(1, equal // 2), min(self._highest[0], 2 * equal) + 1):
            most = min(self._highest[1], 2 * equal, 2 * left, max(1, widest // left))
            fixed = self.num_digits[0] * self.dims[0] * left
            per_rank = self.num_digits[1] * left * self.dims[1] + self.num_digits[2] * self.dims[2]
            right = min(most, (budget.num_bytes // 4 - fixed) // per_rank)
            if right >= max(1, ceil_div(left, 2)):
                best = max(best, (left, right), key=lambda ranks: (math.prod(ranks), -abs(ranks[0] - ranks[1])))
        return best

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """The three cores."""
        # Each value of the product is a sum over both bonds of products of three.
        std = (self.init_std / math.sqrt(math.prod(self.ranks))) ** (1 / 3)
        return tuple(
            PhysicalTable(f"{self.name}/core{core}", num_rows, row_dim, std)
            for core, (num_rows, row_dim) in enumerate(zip(self.num_digits, self._row_dims(self.ranks), strict=True))
        )

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The digits of the id, the most significant first."""
        return ids // constants["divisor"] % constants["modulus"]

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """The product of the three matrices, its values in order."""
        left, right = self.ranks
        first, middle, last = rows.split(list(self._row_dims(self.ranks)), dim=-1)
        product = first.unflatten(-1, (-1, left)) @ middle.unflatten(-1, (left, -1))
        product = product.flatten(-2).unflatten(-1, (-1, right)) @ last.unflatten(-1, (right, -1))
        return product.flatten(-2)

    def combine_shared(self, pieces: Sequence[Tensor], places: Tensor) -> Tensor:
        """The same; ids whose first two digits are equal share the first product."""
        (first, middle, last), (left, right) = pieces, self.ranks
        pairs, pair_of = first_of_each(places[0] * len(middle) + places[1], len(first) * len(middle))
        matrices = first.unflatten(-1, (-1, left)).index_select(0, places[0].index_select(0, pairs))
        product = grouped_product(matrices, middle.unflatten(-1, (left, -1)), places[1].index_select(0, pairs))
        product = product.flatten(1).index_select(0, pair_of).unflatten(-1, (-1, right))
        return grouped_product(product, last.unflatten(-1, (right, -1)), places[2]).flatten(1)

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """See `fit_cores`: equal where the ranks suffice."""
        cores = fit_cores(vectors, ids, self.num_digits, self.dims, self.ranks)
        for matrix, core in zip(rows.values(), cores, strict=True):
            matrix.copy_(core)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """More rows of the first core."""
        first, second, third = self.num_digits
        digits = (max(first, ceil_div(num_embeddings, second * third)), second, third)
        sizes = {"rank": self.ranks, "budget_bytes": None, "budget_fraction": None}
        return {"num_embeddings": num_embeddings, **sizes, "num_digits": digits}


def _three_factors(dim: int) -> tuple[int, int, int]:
    """Three factors as alike as there are, the smallest in the middle, where two ranks multiply it.

    >>> _three_factors(16), _three_factors(24), _three_factors(7)
    ((2, 2, 4), (3, 2, 4), (1, 1, 7))
    """
    found = [
        (last, middle, first)
        for first in range(1, dim + 1)
        if dim % first == 0
        for middle in range(first, dim // first + 1)
        if dim // first % middle == 0 and (last := dim // first // middle) >= middle
    ]
    largest, middle, smallest = min(found)
    return middle, smallest, largest
