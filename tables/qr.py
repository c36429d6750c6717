"""Compositional tables: an id's vector is put together from one row of each of K small matrices.

Source: Shi et al., "Compositional embeddings using complementary partitions" (KDD 2020), arXiv:1909.02107. The
quotient-remainder trick is the case K = 2. The three ways to put rows together are three classes.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Budget, Bytes, Fraction, budget_of
from recsys.tables.least_squares import solve_product
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.partitions import Given, MixedRadix, Partition, Remainders, ceil_div, ceil_root


class PartitionedTable(Table):
    """What the compositional tables share: sizes, storage and routing.

    Shape:
        ids [N] -> embeddings [N, D]; every id keeps a combination of rows of its own.

    Differs from the paper: the rows are scaled so that the combined vector starts with standard deviation init_std.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        num_remainders: quotient-remainder with this divisor: num_remainders + ceil(V / num_remainders) rows.
        budget_bytes: quotient-remainder with the largest divisor that fits, in float32.
        budget_fraction: the same as a fraction of the full table's bytes.
        partition: any other set of partitions; by default, quotient and remainder with the smallest memory.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if more than one of the four sizes is given, one is out of range or a budget cannot be met.
    """

    sizes = Table.sizes | {"num_remainders", "partition"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_remainders: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        partition: Partition | None = None,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        sizes = {"num_remainders": num_remainders, "budget_bytes": budget_bytes, "budget_fraction": budget_fraction}
        given = [key for key, value in {**sizes, "partition": partition}.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"{type(self).__name__} '{name}': give one of {' or '.join(given)}, not several.")
        self.init_std = init_std
        budget = budget_of(self, budget_bytes, budget_fraction)
        if budget is not None:
            num_remainders = self._remainders_within(budget)
        if num_remainders is not None:
            self.require("num_remainders", num_remainders, 1, num_embeddings, "num_embeddings")
            partition = Remainders(num_remainders=num_remainders)
        partition = partition or MixedRadix()
        moduli = partition.moduli(num_embeddings)
        self.register_constants(divisor=partition.divisors(moduli), modulus=moduli)
        self._moduli = moduli
        self._row_dims = self.partition_dims(len(moduli))

    @abstractmethod
    def partition_dims(self, num_partitions: int) -> list[int]:
        """Row width of each matrix."""

    @abstractmethod
    def row_std(self, num_partitions: int) -> float:
        """Standard deviation of the rows that gives the combined vector init_std."""

    def _remainders_within(self, budget: Budget) -> int:
        """Largest divisor, from sqrt(V) up, whose two matrices fit the budget."""
        remainder_dim, quotient_dim = self.partition_dims(2)

        def count_bytes(divisor: int) -> int:
            return 4 * (divisor * remainder_dim + ceil_div(self.num_embeddings, divisor) * quotient_dim)

        return budget.largest(count_bytes, ceil_root(self.num_embeddings, 2), self.num_embeddings)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix per partition."""
        std = self.row_std(len(self._moduli))
        return tuple(
            PhysicalTable(f"{self.name}/partition{position}", num_rows, row_dim, std)
            for position, (num_rows, row_dim) in enumerate(zip(self._moduli, self._row_dims, strict=True))
        )

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same divisors; a last matrix of more rows where it counts quotients.

        Raises:
            ValueError: if remainders by the same numbers do not tell more ids apart.
        """
        divisors, moduli = (self.get_buffer(name).tolist() for name in ("divisor", "modulus"))
        if len(set(divisors)) > 1 or len(moduli) == 1:
            moduli[-1] = max(moduli[-1], ceil_div(num_embeddings, divisors[-1]))
        elif math.prod(moduli) < num_embeddings:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' cannot grow to num_embeddings={num_embeddings}: remainders by "
                f"{moduli} tell {math.prod(moduli)} ids apart; make a new table."
            )
        sizes = {"num_remainders": None, "budget_bytes": None, "budget_fraction": None}
        return {"num_embeddings": num_embeddings, **sizes, "partition": Given(tuple(moduli), tuple(divisors))}

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The codes of the id: (id // divisor) mod modulus, in integers."""
        return ids // constants["divisor"] % constants["modulus"]


class QRTable(PartitionedTable):
    """Compositional table that multiplies its rows: the paper's default and usually its best.

    See PartitionedTable for the arguments. Bags are pooled after the product, so a bag's vector is the sum of its
    ids' products.
    """

    linear = False

    def partition_dims(self, num_partitions: int) -> list[int]:
        """Every matrix has the full width."""
        return [self.embedding_dim] * num_partitions

    def row_std(self, num_partitions: int) -> float:
        """The K-th root: the variance of a product of independent rows is the product of the variances."""
        return float(self.init_std ** (1 / num_partitions))

    def reads_as(self) -> str:
        """See KeptState."""
        return "products of rows"

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """Product of the K rows."""
        return self.combine_pieces([rows], parameters, ids, constants)

    def combine_pieces(
        self, pieces: Sequence[Tensor], parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants
    ) -> Tensor:
        """Product of the K rows, however they are cut."""
        product, *factors = _rows(pieces, self.embedding_dim)
        for factor in factors:
            product = product * factor
        return product

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """The best product in every column, by alternating least squares."""
        solve_product(list(rows.values()), self.rows_of(ids), vectors)


class QRSumTable(PartitionedTable):
    """Compositional table that adds its rows. See PartitionedTable for the arguments."""

    sums = True

    def partition_dims(self, num_partitions: int) -> list[int]:
        """Every matrix has the full width."""
        return [self.embedding_dim] * num_partitions

    def row_std(self, num_partitions: int) -> float:
        """Variances of the summands add up."""
        return self.init_std / math.sqrt(num_partitions)

    def reads_as(self) -> str:
        """See KeptState."""
        return "sums of rows"

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """Sum of the K rows."""
        return rows.unflatten(-1, (-1, self.embedding_dim)).sum(-2)

    def combine_pieces(
        self, pieces: Sequence[Tensor], parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants
    ) -> Tensor:
        """Sum of the K rows; two are added where they lie, which is the same to the bit."""
        if len(pieces) == len(self._moduli) == 2:
            return pieces[0] + pieces[1]
        return super().combine_pieces(pieces, parameters, ids, constants)


class QRConcatTable(PartitionedTable):
    """Compositional table that lays its rows, each about D / K wide, side by side.

    See PartitionedTable for the arguments.
    """

    def partition_dims(self, num_partitions: int) -> list[int]:
        """D split as evenly as it goes, wider shares first.

        Raises:
            ValueError: if D is smaller than the number of partitions.
        """
        self.require("embedding_dim", self.embedding_dim, num_partitions)
        share, wider = divmod(self.embedding_dim, num_partitions)
        return [share + (position < wider) for position in range(num_partitions)]

    def row_std(self, num_partitions: int) -> float:
        """Concatenation keeps the standard deviation."""
        return self.init_std


def _rows(pieces: Sequence[Tensor], width: int) -> Iterator[Tensor]:
    """The rows of each lookup; what is one row already is left as it is, since the gradient of a split is a copy."""
    for piece in pieces:
        yield from (piece,) if piece.shape[-1] == width else piece.split(width, dim=-1)
