"""Rows of fewer bits: what trained vectors are stored as, or the precision that embeddings are served in.

Sources: Guan et al., "Post-training 4-bit quantization on embedding tables" (2019), arXiv:1911.02079, for a scale per
row; Yang et al., "Mixed-precision embedding using a cache" (2020), arXiv:2010.11305, and Zhang et al., "SHARK" (CIKM
2023), arXiv:2308.09395, for precision by frequency.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.lookups.optimizers import Frozen
from recsys.tables.physical import PhysicalTable

_PIECE_VALUES = 1 << 18

Precision = Literal["float32", "float16", "bfloat16", "int8", "int4"]
"""How a value of a row is stored; "float32" is as in other tables: in the dtype of the collection."""
Known = TypeVar("Known", bound=str)


@dataclass(frozen=True)
class _Format:
    """A way to store rows.

    Args:
        dtype: of the matrix.
        num_levels: values that a code may have; 0 where values are stored as they are.
        codes_per_value: that a value of the matrix holds.
    """

    dtype: torch.dtype | None
    num_levels: int = 0
    codes_per_value: int = 1

    def row_dim(self, width: int) -> int:
        """Values of a row in memory; a row of an odd number of halves is filled up."""
        return -(-width // self.codes_per_value)


FORMATS = {
    "float32": _Format(None),
    "float16": _Format(torch.float16),
    "bfloat16": _Format(torch.bfloat16),
    "int8": _Format(torch.int8, 256),
    "int4": _Format(torch.uint8, 16, 2),
}


class QuantizedTable(Table):
    """One row per id, of fewer bits: half-precision values, or codes of 8 or 4 bits and a scale per row.

    A value is (code - mean code) * scale: levels lie evenly on both sides of 0, all 256 or 16 are used, and none is 0;
    two codes of 4 bits share a byte. It is made to be served: nothing of it is trained (ALPTTable is). Ids in order of
    falling count may be stored in steps of falling precision.

    Shape:
        ids [N] -> embeddings [N, D]; memory per id 4 D, 2 D, D + 4 or D / 2 + 4 bytes.

    Differs from the papers: scales are those of the largest value, without search and without an offset.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        precisions: of rows, one or several: "float32", "float16", "bfloat16", "int8" or "int4".
        num_ids: how many ids have each precision but the last, the most frequent first; the last has the rest.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: on an unknown precision, or numbers of ids that are not one fewer than precisions.
    """

    linear = False
    leaves_out = True
    sizes = Table.sizes | {"num_ids"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        precisions: Sequence[Precision] = ("int8",),
        num_ids: Sequence[int] = (),
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.precisions = checked_precisions(self, precisions, num_ids, tuple(FORMATS))
        self.init_std = init_std
        firsts = first_ids(self, num_ids)
        self._counts = [last - first for first, last in pairwise(firsts)]
        # An interval of ids for each lookup: a matrix of codes has a scale beside it.
        by_lookup = [part for part, precision in enumerate(self.precisions) for _ in range(_num_lookups(precision))]
        self.register_constants(
            first_id=[firsts[part] for part in by_lookup], last_id=[firsts[part + 1] for part in by_lookup]
        )
        self._widths = self.row_dims

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """For each precision a matrix, and one of scales where it holds codes."""
        found = []
        for precision, num_ids in zip(self.precisions, self._counts, strict=True):
            name = f"{self.name}/{precision}"
            kind = FORMATS[precision]
            num_rows, row_dim = max(1, num_ids), kind.row_dim(self.embedding_dim)
            if not kind.num_levels:
                found.append(
                    PhysicalTable(name, num_rows, row_dim, self.init_std, optimizer=Frozen(), dtype=kind.dtype)
                )
                continue
            # Bytes are drawn evenly from all there are, and so is each code.
            middle = -0.5 if kind.dtype == torch.int8 else 127.5
            spread = math.sqrt((256**2 - 1) / 12)
            codes = PhysicalTable(name, num_rows, row_dim, spread, middle, optimizer=Frozen(), dtype=kind.dtype)
            scale = self.init_std / math.sqrt((kind.num_levels**2 - 1) / 12)
            scales = PhysicalTable(f"{name}/scale", num_rows, 1, 0.0, scale, optimizer=Frozen())
            found += [codes, scales]
        return tuple(found)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id's row in the matrices of its precision, and none in the others."""
        rows = ids - constants["first_id"]
        return torch.where((rows >= 0) & (ids < constants["last_id"]), rows, -1)

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """What the codes stand for; an id has no row, and so zeros, in all precisions but its own."""
        pieces = iter(rows.split(self._widths, -1))
        vectors = []
        for precision in self.precisions:
            values = next(pieces)
            if FORMATS[precision].num_levels:
                # A scale of zero leaves nothing of codes that are not there.
                values = decoded(values, precision)[..., : self.embedding_dim] * next(pieces)
            vectors.append(values)
        return vectors[0] if len(vectors) == 1 else torch.stack(vectors).sum(0)

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """The nearest values that the precisions have; see `values_of`."""
        wanted = vectors.new_zeros(self.num_embeddings, self.embedding_dim)
        wanted[ids] = vectors
        for name, values in self.values_of(wanted).items():
            rows[name].copy_(values)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """More rows of the last precision."""
        return {"num_embeddings": num_embeddings}

    def values_of(self, vectors: Tensor) -> dict[str, Tensor]:
        """The matrices that hold vectors [V, D] as nearly as their precisions can, by name.

        Raises:
            ValueError: if vectors have another shape, or a value is not finite or beyond the range of float16.
        """
        wanted = (self.num_embeddings, self.embedding_dim)
        if tuple(vectors.shape) != wanted:
            raise ValueError(f"QuantizedTable '{self.name}': vectors must be {wanted}, got {tuple(vectors.shape)}.")
        matrices = iter(self.physical_tables())
        found: dict[str, Tensor] = {}
        for precision, part in zip(self.precisions, vectors.split(self._counts), strict=True):
            matrix, kind = next(matrices), FORMATS[precision]
            # A matrix without ids has a row, since none can be empty.
            part = part if len(part) else part.new_zeros(1, self.embedding_dim)
            if kind.num_levels:
                found[matrix.name], scale = _encoded_rows(part, precision)
                found[next(matrices).name] = scale
                is_finite = bool(scale.isfinite().all())
            else:
                found[matrix.name] = part.to(kind.dtype or part.dtype)
                is_finite = bool(found[matrix.name].isfinite().all())
            if not is_finite:
                raise ValueError(f"QuantizedTable '{self.name}': vectors must be finite in {precision}, and are not.")
        return found


def _num_lookups(precision: str) -> int:
    return 2 if FORMATS[precision].num_levels else 1


def checked_precisions(
    table: Table, precisions: Sequence[Known], num_ids: Sequence[int], known: Sequence[str]
) -> tuple[Known, ...]:
    """The precisions, if they and the numbers of ids fit together.

    Raises:
        ValueError: naming the table.
    """
    owner = f"{type(table).__name__} '{table.name}'"
    unknown = isinstance(precisions, str) or any(each not in known for each in precisions)
    if unknown or not precisions or len(set(precisions)) < len(precisions):
        raise ValueError(f"{owner}: precisions must be some of {', '.join(known)}, each once, got {precisions!r}.")
    if len(num_ids) != len(precisions) - 1:
        raise ValueError(
            f"{owner}: num_ids must have a number for each of {len(precisions)} precisions but the last, got "
            f"{list(num_ids)}."
        )
    for count in num_ids:
        table.require("num_ids", count, 1)
    return tuple(precisions)


def first_ids(table: Table, num_ids: Sequence[int]) -> list[int]:
    """Where the ids of each precision begin, and V; a small table may end before its last precision."""
    firsts = [0]
    for count in num_ids:
        firsts.append(min(table.num_embeddings, firsts[-1] + count))
    return [*firsts, table.num_embeddings]


def _encoded_rows(vectors: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    """Codes [N, row_dim] and scales [N, 1] of vectors [N, D], made of a few rows at a time: levels are float64."""
    kind = FORMATS[precision]
    codes = torch.empty(len(vectors), kind.row_dim(vectors.shape[1]), dtype=kind.dtype, device=vectors.device)
    scales = torch.empty(len(vectors), 1, device=vectors.device)
    step = max(1, _PIECE_VALUES // vectors.shape[1])
    for start in range(0, len(vectors), step):
        piece = vectors[start : start + step].float()
        scale = piece.abs().amax(1, keepdim=True) / ((kind.num_levels - 1) / 2)
        codes[start : start + step], scales[start : start + step] = encoded(piece, scale, precision), scale
    return codes, scales


def encoded(values: Tensor, scale: Tensor, precision: str) -> Tensor:
    """The codes nearest to values: [N, D] and scales [N, 1] -> [N, row_dim] as memory holds them."""
    num_levels = FORMATS[precision].num_levels
    levels = values.double() / scale.double().clamp(min=1e-300)
    return packed((levels + (num_levels - 1) / 2).round().clamp(0, num_levels - 1).long(), precision)


def packed(codes: Tensor, precision: str) -> Tensor:
    """Codes [N, D] from 0 -> [N, row_dim] as memory holds them."""
    kind = FORMATS[precision]
    if kind.dtype == torch.int8:
        return (codes - 128).to(torch.int8)
    codes = F.pad(codes, (0, codes.shape[1] % 2))
    return (codes[:, 0::2] * 16 + codes[:, 1::2]).to(torch.uint8)


def decoded(values: Tensor, precision: str) -> Tensor:
    """What codes, read as numbers, stand for in units of their scale: [..., row_dim] -> [..., D], maybe one more."""
    if FORMATS[precision].dtype == torch.int8:
        return values + 0.5
    high = (values / 16).floor()
    return torch.stack([high, values - 16 * high], -1).flatten(-2) - 7.5
