"""Rows that are trained to be quantized: the vector is what 8 or 4 bits and a learned scale per row will hold.

Sources: Li et al., "Adaptive low-precision training for embeddings in click-through rate prediction" (AAAI 2023),
arXiv:2212.05735; Esser et al., "Learned step size quantization" (ICLR 2020), arXiv:1902.08153.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.numbers import check_number
from recsys.tables.physical import PhysicalTable
from recsys.tables.quantized import FORMATS, QuantizedTable, checked_precisions, first_ids, packed
from recsys.tables.upkeep import Rows

_FIRST_LEVELS = {"int8": 32, "int4": 8}
"""Levels that initial rows take up, of 256 or 16: the others leave room to grow before a scale has to."""
_HASTE = 4.0
"""Rows grow tenfold while they are trained; at their own rate the logarithms of their scales would lag behind."""
_SCALES = 64
"""Scales that are tried for a row."""
_LEAST_STD = 1e-30
_LEAST = 1e-6
"""Of the first scale: the scale of a row of zeros must be above 0."""
_BLOCK = 1 << 16
"""Ids that are encoded at a time."""


class ALPTTable(Table):
    """Each row is rounded to the levels of its own learned scale; gradients reach row and scale as in LSQ.

    With u = row / scale the vector is scale * q, q the nearest of the levels +-1/2, +-3/2, ... The row gets the
    vector's gradient where u is within the levels; the scale gets q - u there and the outermost level beyond, times
    1 / sqrt(D * levels / 2). Once trained, `served` is the QuantizedTable with the same vectors.

    Shape:
        ids [N] -> embeddings [N, D]; memory while training V rows of D and V scales; when served D bytes, or half as
        many, and 4 for the scale of every id.

    Differs from ALPT: rows stay float32 while training, as in LSQ, since rows of integers cannot be stepped by an
    optimizer; with them no stochastic rounding is needed. Scale and row learn in one backward pass. Scales are learned
    as logarithms, in units of 4, of what they begin with, so that the rate of rows fits them and they stay above 0.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V); the most frequent first where there are several precisions.
        embedding_dim: D.
        precisions: of rows when served, "int8", "int4" or both.
        num_ids: how many ids have each precision but the last.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: on an unknown precision, or numbers of ids that are not one fewer than precisions.
    """

    linear = False
    repeats_cost = True
    sizes = (Table.sizes | {"num_ids"}) - {"init_std"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        precisions: Sequence[Literal["int8", "int4"]] = ("int8",),
        num_ids: Sequence[int] = (),
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        check_number(f"ALPTTable '{name}'", "init_std", init_std, _LEAST_STD)  # scales are in units of it
        self.precisions = checked_precisions(self, precisions, num_ids, tuple(_FIRST_LEVELS))
        self.num_ids, self.init_std = tuple(num_ids), init_std
        self.register_constants(last_id=first_ids(self, num_ids)[1:])

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix of rows, V x D, and one of the logarithms of their scales, which begin at 0."""
        rows = PhysicalTable(self.name, self.num_embeddings, self.embedding_dim, self.init_std)
        return (rows, PhysicalTable(f"{self.name}/log_scale", self.num_embeddings, 1, 0.0))

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id is the row of both."""
        return ids.expand(*ids.shape[:-2], 2, ids.shape[-1])

    def reads_as(self) -> str:
        """See KeptState."""
        return f"rows rounded to {' and '.join(self.precisions)}, in units of init_std={self.init_std!r}"

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """The rounded row."""
        return self.combine_pieces([rows[..., :-1], rows[..., -1:]], parameters, ids, constants)

    def combine_pieces(
        self, pieces: Sequence[Tensor], parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants
    ) -> Tensor:
        """The same without laying rows and scales side by side."""
        if len(pieces) == 1:
            return self.combine(pieces[0], parameters, ids, constants)
        values, log_scale = pieces
        values, scale, outermost = self._scaled(values, log_scale, ids, constants)
        factor = (self.embedding_dim * (outermost + 0.5)) ** -0.5
        rounded = _Rounded if torch.compiler.is_compiling() else _RoundedWithTangents
        return rounded.apply(values, scale, outermost, factor).to(pieces[0].dtype)

    def _scaled(
        self, values: Tensor, log_scale: Tensor, ids: Tensor, constants: Constants
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rows' values, their scale, and the outermost level in units of it: [N, G, D], [N, G, 1], [N, G, 1] or one."""
        # Half precision could not tell levels apart.
        dtype = torch.promote_types(values.dtype, torch.float32)
        width = 2 * math.sqrt(3) * self.init_std
        first_scale = self._of_precision([width / _FIRST_LEVELS[each] for each in self.precisions], ids, constants)
        half = self._of_precision([FORMATS[each].num_levels / 2 for each in self.precisions], ids, constants)
        return values.to(dtype), first_scale * (_HASTE * log_scale.to(dtype)).exp(), half - 0.5

    def _of_precision(self, values: Sequence[float], ids: Tensor, constants: Constants) -> Tensor:
        """The value of each id's precision: one for all, or [N, G, 1]."""
        if len(values) == 1:
            return torch.full((), values[0], device=ids.device)
        first, second = values
        return torch.where(ids.unsqueeze(-1) < constants["last_id"][..., :1], first, second)

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Rows are the vectors; of many scales each row has the one whose levels are nearest to it, in squares."""
        values, log_scales = (rows[each.name] for each in self.physical_tables())
        values[ids] = vectors
        width = 2 * math.sqrt(3) * self.init_std
        for precision, (first, last) in zip(self.precisions, pairwise(first_ids(self, self.num_ids)), strict=True):
            chosen = (ids >= first) & (ids < last)
            first_scale = width / _FIRST_LEVELS[precision]
            for part, some in zip(vectors[chosen].split(_BLOCK), ids[chosen].split(_BLOCK), strict=True):
                scale = best_scale(part, FORMATS[precision].num_levels).clamp(min=_LEAST * first_scale)
                log_scales[some] = (scale / first_scale).log() / _HASTE

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """A row and a scale more for each id, of the last precision."""
        return {"num_embeddings": num_embeddings}

    @torch.no_grad()
    def served(self, rows: Rows) -> tuple[Table, dict[str, Tensor]]:
        """The same levels as codes, and the scales."""
        table = self._served_table()
        firsts, matrices = first_ids(self, self.num_ids), iter(table.physical_tables())
        device = self.get_buffer("last_id").device
        found: dict[str, Tensor] = {}
        for precision, (first, last) in zip(self.precisions, pairwise(firsts), strict=True):
            codes, scales = next(matrices), next(matrices)
            kind = FORMATS[precision]
            found[codes.name] = torch.zeros(codes.num_rows, codes.row_dim, dtype=kind.dtype, device=device)
            found[scales.name] = torch.zeros(scales.num_rows, 1, device=device)
            for start in range(first, last, _BLOCK):
                ids = torch.arange(start, min(start + _BLOCK, last), device=device)
                values, log_scale = (rows.read_rows(each.name, ids).unsqueeze(1) for each in self.physical_tables())
                values, scale, outermost = self._scaled(values, log_scale, ids.unsqueeze(1), self._own_constants(0))
                levels = torch.clamp(values / scale, -outermost, outermost)
                place = slice(start - first, start - first + len(ids))
                found[codes.name][place] = packed((levels.squeeze(1).floor() + kind.num_levels // 2).long(), precision)
                found[scales.name][place] = scale.squeeze(1).float()
        return table, found

    def _served_table(self) -> QuantizedTable:
        return QuantizedTable(
            self.name,
            self.num_embeddings,
            self.embedding_dim,
            precisions=self.precisions,
            num_ids=self.num_ids,
            init_std=self.init_std,
        )

    def served_bytes(self) -> int:
        """Codes and scales."""
        return sum(physical.num_bytes() for physical in self._served_table().physical_tables())


def best_scale(vectors: Tensor, num_levels: int) -> Tensor:
    """The scale whose levels +-1/2, +-3/2, ... are nearest, in squares, of 64 that are each the best for some levels.

    Shape:
        vectors [N, D] -> [N, 1]
    """
    outermost = (num_levels - 1) / 2
    largest = vectors.abs().amax(1, keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny) / outermost

    def nearest_levels(scale: Tensor) -> Tensor:
        return (vectors / scale).clamp(-outermost, outermost).floor() + 0.5

    best, least = largest, torch.full_like(largest, torch.inf)
    for part in range(_SCALES, 0, -1):
        levels = nearest_levels(largest * (part / _SCALES))
        scale = (levels * vectors).sum(1, keepdim=True) / levels.square().sum(1, keepdim=True)
        scale = torch.where(scale > 0, scale, largest)
        error = (nearest_levels(scale) * scale - vectors).square().sum(1, keepdim=True)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return best


class _Rounded(torch.autograd.Function):
    """Values at the levels of their scale nearest to them; see ALPTTable for the gradients."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, scale: Tensor, outermost: Tensor, factor: Tensor) -> Tensor:
        """[N, G, D], [N, G, 1] -> [N, G, D]."""
        return (torch.clamp(values / scale, -outermost, outermost).floor() + 0.5) * scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep what came in: less than what the backward pass makes of it."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Of values and scale."""
        # Asked for once: what checkpointed models save is computed again whenever it is.
        *inputs, factor = ctx.saved_tensors
        is_within, by_scale = _slopes(*inputs)
        return grads[0] * is_within, (grads[0] * by_scale).sum(-1, keepdim=True) * factor, None, None


class _RoundedWithTangents(_Rounded):
    """In forward mode too; apart, since torch.compile takes no Function that has a `jvp`."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep what came in for both modes."""
        _Rounded.setup_context(ctx, inputs, output)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensor:
        """Of values and scale."""
        *inputs, factor = ctx.saved_tensors
        slopes = _slopes(*inputs)
        of_values, of_scale = (torch.zeros_like(slopes[1]) if each is None else each for each in tangents[:2])
        return of_values * slopes[0] + of_scale * factor * slopes[1]


def _slopes(values: Tensor, scale: Tensor, outermost: Tensor) -> tuple[Tensor, Tensor]:
    """Of the rounded values by the values, and by their scale before its factor."""
    units = values / scale
    levels = torch.clamp(units, -outermost, outermost)
    is_within = units == levels
    # Beyond the outermost level the vector is that level times the scale.
    return is_within, levels.floor() + 0.5 - units * is_within
