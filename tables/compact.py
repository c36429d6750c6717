"""Tables whose ids do not all have a row, and whose rows do not have all columns: what structured pruning leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Bytes, Fraction, size_or_budget
from recsys.tables.least_squares import mean_without
from recsys.tables.lookups.optimizers import Frozen
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.ranks import more_words, rank
from recsys.tables.row_codes import BYTE_MEAN, BYTE_STD, LEVEL_STD, decoded, encoded

RowPrecision = Literal["float32", "float16", "bfloat16", "int8", "int4"]
"""How a value of a row is stored; "float32" is as in other tables: in the dtype of the collection."""
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "int8": torch.int8, "int4": torch.uint8}
_LARGEST_CODE = 127
_CODE_STD = math.sqrt(((2 * _LARGEST_CODE + 1) ** 2 - 1) / 12)
"""Of codes drawn evenly."""


class CompactTable(Table):
    """A vector common to all ids, to which the ids that are kept add a row in some of the columns.

    Source: whole rows and columns pruned as in Lyu et al., "OptEmbed" (arXiv:2208.04482), and, where the common vector
    is not zeros, Zhu et al., "Shaver" (arXiv:2411.13052).

    Shape:
        ids [N] -> embeddings [N, D]; memory one row of len(columns) for each kept id, the common vector [D], with
        "int8" a scale for each column, with "int4" one of 2 bytes for each row, and with `kept` 12 bytes for 64 ids.

    Differs from the papers: what is kept is given to it; rows hold what they differ from the common vector by, so that
    an id without a row and a column without values both are the common vector.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        num_rows: the first num_rows ids are kept, all of them if there are no more: the most frequent ones where ids
            are by falling count; or give one of:
        budget_bytes: float32 bytes that rows and common vector may take.
        budget_fraction: the same as a fraction of the full table's bytes.
        kept: words of `routing.ranks.pack_bits` that say which ids are kept.
        columns: of D, in ascending order, that rows have; None for all. Without any, or without kept ids, there is
            only the common vector.
        precision: of rows: "float32", or "float16", "bfloat16", "int8" or "int4", which are made to be served: rows
            are not trained any more. A code of 8 bits times its column's scale, or of 4 bits times its row's, is the
            value, and 0 is 0; two codes of 4 bits share a byte.
        init_std: standard deviation of the initial vectors of ids that are kept.

    Raises:
        ValueError: unless exactly one size is given, and in range, or on an unknown precision.
    """

    linear = False
    leaves_out = True
    sizes = Table.sizes | {"kept", "columns"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_rows: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        kept: Tensor | None = None,
        columns: Sequence[int] | None = None,
        precision: RowPrecision = "float32",
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.columns = list(range(embedding_dim)) if columns is None else list(columns)
        if self.columns != sorted(set(self.columns) & set(range(embedding_dim))):
            raise ValueError(
                f"CompactTable '{name}': columns must be in [0, embedding_dim={embedding_dim}), ascending and each "
                f"once, got {self.columns}."
            )
        if precision not in get_args(RowPrecision):
            known = ", ".join(get_args(RowPrecision))
            raise ValueError(f"CompactTable '{name}': precision must be one of {known}, got {precision!r}.")
        self.precision, self.init_std = precision, init_std
        budget = size_or_budget(self, budget_bytes, budget_fraction, num_rows=num_rows, kept=kept)
        if budget is not None:
            sizes = (len(self.columns), embedding_dim, precision)
            num_rows = budget.largest(lambda rows: row_bytes(rows, *sizes), 1, num_embeddings)
        if kept is not None:
            num_rows = self.register_kept("kept", kept, num_embeddings)
        else:
            assert num_rows is not None
            self.require("num_rows", num_rows, 0)
        self.num_rows = min(num_rows, num_embeddings)
        self.register_constants(num_kept=[self.num_rows], column=self.columns)
        self.common = nn.Parameter(torch.zeros(embedding_dim))
        if precision == "int8" and self.columns and self.num_rows:
            deviation = init_std * math.sqrt(embedding_dim / len(self.columns))
            self.scale = nn.Parameter(torch.full((len(self.columns),), deviation / _CODE_STD))

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix of the rows that are kept, if there are any, and with "int4" one of their scales."""
        row_dim = len(self.columns)
        if not row_dim or not self.num_rows:
            return ()
        dtype = _DTYPES.get(self.precision)
        deviation = _CODE_STD if dtype == torch.int8 else self.init_std * math.sqrt(self.embedding_dim / row_dim)
        optimizer = None if dtype is None else Frozen()
        if self.precision == "int4":
            codes = PhysicalTable(
                self.name, self.num_rows, -(-row_dim // 2), BYTE_STD, BYTE_MEAN, optimizer=optimizer, dtype=dtype
            )
            scale = deviation / LEVEL_STD
            scales = PhysicalTable(
                f"{self.name}/scale", self.num_rows, 1, 0.0, scale, optimizer=optimizer, dtype=torch.bfloat16
            )
            return codes, scales
        return (PhysicalTable(self.name, self.num_rows, row_dim, deviation, optimizer=optimizer, dtype=dtype),)

    def signature(self) -> tuple[object, ...]:
        """Tables that say which ids they keep route otherwise than those that keep the first."""
        return (*super().signature(), "kept" in self.per_id_names)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The number of the id among those that are kept, or none."""
        if "kept" in constants:
            rows = rank(ids, constants["kept"], constants["before_kept"])
        else:
            rows = torch.where(ids < constants["num_kept"], ids, -1)
        return torch.cat([rows, rows], -2) if self.precision == "int4" and len(self.row_dims) else rows

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """The common vector, and what the row adds to it."""
        common = parameters["common"].to(rows.dtype)
        if "scale" in parameters:
            rows = rows * parameters["scale"].to(rows.dtype)
        elif self.precision == "int4" and rows.shape[-1]:
            rows = decoded(rows[..., :-1])[..., : constants["column"].shape[-1]] * rows[..., -1:]
        if rows.shape[-1] == self.embedding_dim:
            return rows + common
        vectors = common.expand(*rows.shape[:-1], self.embedding_dim)
        if not rows.shape[-1]:
            return vectors
        return vectors.scatter_add(-1, constants["column"].expand(rows.shape), rows)

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Least squares: equal in the columns of ids that have a row, the mean of all others elsewhere."""
        kept = self.rows_of(ids)[0]
        has_row = torch.zeros(self.embedding_dim, dtype=torch.bool)
        has_row[self.columns] = bool(rows)
        self.common.copy_(mean_without((kept >= 0).unsqueeze(1) & has_row, vectors))
        if rows:
            found = self.stored((vectors - self.common)[kept >= 0][:, self.columns])
            for name, values in found.items():
                rows[name][kept[kept >= 0]] = values.to(rows[name].dtype)

    @torch.no_grad()
    def stored(self, rows: Tensor) -> dict[str, Tensor]:
        """Rows [R, W] of float32 as the matrices hold them, by name; sets the scales of columns.

        Raises:
            ValueError: if a value is not finite, or beyond the range of float16.
        """
        if self.precision == "int4":
            codes, scales = encoded(rows)
            found, finite = {self.name: codes, f"{self.name}/scale": scales}, scales
        elif self.precision == "int8":
            self.scale.copy_(rows.abs().amax(0).clamp(min=torch.finfo(torch.float32).tiny) / _LARGEST_CODE)
            found, finite = {self.name: (rows / self.scale).round().to(torch.int8)}, self.scale
        else:
            finite = rows.to(_DTYPES.get(self.precision, rows.dtype))
            found = {self.name: finite}
        if not bool(finite.isfinite().all()):
            raise ValueError(f"CompactTable '{self.name}': rows must be finite in {self.precision}, and are not.")
        return found

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows; new ids have none."""
        sizes = {"num_embeddings": num_embeddings, "budget_bytes": None, "budget_fraction": None}
        if "kept" not in self.per_id_names:
            return {**sizes, "num_rows": self.num_rows}
        return {**sizes, "kept": more_words(self.get_buffer("kept"), num_embeddings)}

    def expected_collisions(self) -> float:
        """Ids that share the common vector with one before them."""
        absent = self.num_embeddings - (self.num_rows if self.columns else 0)
        return float(max(0, absent - 1))


def row_bytes(num_rows: int, row_dim: int, embedding_dim: int, precision: RowPrecision) -> int:
    """Bytes of so many rows, their scales and the common vector."""
    if precision == "int4":
        return (-(-row_dim // 2) + 2 if row_dim else 0) * num_rows + 4 * embedding_dim
    value = _DTYPES.get(precision, torch.float32).itemsize
    scales = row_dim if precision == "int8" and num_rows else 0
    return value * num_rows * row_dim + 4 * (scales + embedding_dim)
