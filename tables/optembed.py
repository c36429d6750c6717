"""OptEmbed's supernet: a threshold that rows must reach, and rows that are of use at any width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from recsys.tables.base import DEFAULT_INIT_STD, Constants
from recsys.tables.numbers import check_number
from recsys.tables.physical import PhysicalTable
from recsys.tables.searched import SearchedTable
from recsys.tables.upkeep import Rows

_PIECE_ROWS = 1 << 20


class LongTailStep(torch.autograd.Function):
    """1 above 0, else 0; its gradient is the long-tailed estimator of OptEmbed, equation 5.

    2 - 4 |x| up to |x| = 0.4, then 0.4 up to 1, then 0: Xu and Cheung, "Accurate and compact convolutional neural
    networks with trained binarization" (BMVC 2019).
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """The step of every value."""
        return (x > 0).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep the values for the backward pass."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """The estimated gradient."""
        return grads[0] * _slope(*ctx.saved_tensors)


class _LongTailStepWithTangents(LongTailStep):
    """In forward mode too; apart, since torch.compile takes no Function that has a `jvp`."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep the values for both modes."""
        LongTailStep.setup_context(ctx, inputs, output)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        """The estimated directional derivative."""
        return tangents[0] * _slope(*ctx.saved_tensors)


def _slope(x: Tensor) -> Tensor:
    size = x.abs()
    return torch.where(size <= 0.4, 2 - 4 * size, torch.where(size <= 1, 0.4, 0.0))


def long_tail_step(x: Tensor) -> Tensor:
    """See LongTailStep."""
    step: Tensor = (LongTailStep if torch.compiler.is_compiling() else _LongTailStepWithTangents).apply(x)
    return step


class OptEmbedTable(SearchedTable):
    """A row counts if the sum of its magnitudes is above a threshold; in training, a random number of its columns.

    Source: Lyu et al., "OptEmbed: learning optimal embedding table for click-through rate prediction" (CIKM 2022,
    arXiv:2208.04482), the supernet: a threshold for the table, or for each id, and a width drawn uniformly for every id
    looked up.

    Shape:
        ids [N] -> embeddings [N, D]; memory V rows of D, the threshold, with per_id V thresholds more and, with
        row_decay, 4 bytes per id.

    Differs from the paper: the threshold steps with the task's optimizer, not with SGD at a small rate of its own, and
    so is learned as a multiple of D init_std, about what the magnitudes of a row sum to at the start: steps of Adam,
    which are as large whatever the gradient, would take it away from all rows. What prunes rare ids there is
    the weight decay of a dense optimizer, which shrinks rows that are not read; here it is `row_decay`, caught up with
    in closed form when a row is read and at the end of an epoch: a step costs what the ids that are there cost. With
    per_id, an id's threshold is the table's plus its own, which steps with the rows' optimizer, not penalised.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        penalty_weight: of exp(-threshold), which is added to the loss.
        row_decay: fraction that every row loses at every step, read or not: a dense optimizer's rate times its
            decoupled weight decay.
        samples_widths: False trains all columns of every row.
        min_width: columns that every row has at least while training; the paper's is 1. Widths that a budget will not
            ask for take from what those that it will learn.
        per_id: a threshold of each id beside that of the table: "feature-wise" in the paper, not "field-wise".
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if the weight is negative, row_decay outside [0, 1), or min_width outside [1, D].
    """

    selects = "rows"
    sizes = SearchedTable.sizes - {"init_std"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        penalty_weight: float = 1e-5,
        row_decay: float = 0.0,
        samples_widths: bool = True,
        min_width: int = 1,
        per_id: bool = False,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        if not 0 <= row_decay < 1:
            raise ValueError(f"OptEmbedTable '{name}': row_decay must be in [0, 1), got {row_decay}.")
        check_number(f"OptEmbedTable '{name}'", "penalty_weight", penalty_weight)
        self.require("min_width", min_width, 1, embedding_dim, "embedding_dim")
        self.penalty_weight, self.row_decay, self.min_width = penalty_weight, row_decay, min_width
        self.samples_widths, self.per_id, self.init_std = samples_widths, per_id, init_std
        self.unit = embedding_dim * init_std or 1.0
        """Of thresholds: about what the magnitudes of a row sum to at the start."""
        self.threshold = nn.Parameter(torch.zeros(()))
        if row_decay:
            self.register_buffer("num_steps", torch.zeros((), dtype=torch.int64))
            self.register_buffer("decayed_until", torch.zeros(num_embeddings, dtype=torch.int32))

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix, V x D; with per_id another of thresholds, V x 1, which begin at 0."""
        matrices = super().physical_tables()
        return (
            (*matrices, PhysicalTable(f"{self.name}/threshold", self.num_embeddings, 1, 0.0))
            if self.per_id
            else matrices
        )

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id is the row, of both matrices."""
        return torch.cat([ids, ids], -2) if self.per_id else ids

    def reads_as(self) -> str:
        """See KeptState."""
        return f"rows above a threshold in units of init_std={self.init_std!r}"

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """The row where it reaches the threshold, and in training some of its columns from the left."""
        above = self._above(rows, (self.unit * parameters["threshold"]).to(rows.dtype))
        rows, kept = rows[..., : self.embedding_dim], long_tail_step(above).unsqueeze(-1)
        if self.training and self.samples_widths:
            sizes = (*rows.shape[:-1], 1)
            width = torch.randint(self.min_width, self.embedding_dim + 1, sizes, device=rows.device)
            kept = kept * (torch.arange(self.embedding_dim, device=rows.device) < width)
        return rows * kept

    def regularizer(self) -> Tensor | None:
        """Pushes the threshold up, less the higher it is."""
        return self.penalty_weight * torch.exp(-self.unit * self.threshold) if self.penalty_weight else None

    @property
    def observes(self) -> bool:
        """Rows decay when they are read."""
        return self.row_decay > 0

    @torch.no_grad()
    def observe(self, ids: Tensor, rows: Rows) -> None:
        """One step more: the rows about to be read lose what they have not lost since they were read last."""
        if self.row_decay:
            self.get_buffer("num_steps").add_(1)
            self._decay(ids.unique(), rows)

    @torch.no_grad()
    def on_epoch_end(self, rows: Rows) -> None:
        """All rows lose what they have not lost yet, so that they are those of a dense optimizer."""
        if self.row_decay and self.training:
            device = self.threshold.device
            for start in range(0, self.num_embeddings, _PIECE_ROWS):
                self._decay(torch.arange(start, min(start + _PIECE_ROWS, self.num_embeddings), device=device), rows)

    def _decay(self, ids: Tensor, rows: Rows) -> None:
        until, now = self.get_buffer("decayed_until"), self.get_buffer("num_steps")
        missing = (now - until[ids]).double()
        factor = torch.exp(missing * torch.log1p(torch.tensor(-self.row_decay, dtype=torch.float64)))
        values = rows.read_rows(self.name, ids)
        rows.write_rows(self.name, ids, values * factor.to(values.dtype).unsqueeze(1))
        until[ids] = now.to(until.dtype)

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Equal where all columns are used, as in evaluation mode; the threshold starts afresh, and keeps all rows."""
        self.threshold.zero_()
        super().fit(vectors, ids, rows)

    def grown(self, num_embeddings: int) -> Self:
        """A row more for each id, which has lost nothing yet."""
        grown = super().grown(num_embeddings)
        if self.row_decay:
            grown.get_buffer("decayed_until").fill_(int(self.get_buffer("num_steps")))
        return grown

    def scores(self, rows: Tensor) -> Tensor:
        """By how much rows are above their thresholds."""
        return self._above(rows, self.unit * self.threshold.detach().to(rows))

    def _above(self, rows: Tensor, threshold: Tensor) -> Tensor:
        """Sums of magnitudes less thresholds, [..., W] -> [...]."""
        found = rows[..., : self.embedding_dim].abs().sum(-1) - threshold
        return found - self.unit * rows[..., self.embedding_dim] if self.per_id else found

    @torch.no_grad()
    def raise_threshold(self, offset: float) -> None:
        """Keep the rows whose scores are above an offset, for a search that puts the threshold back."""
        self.threshold.add_(offset / self.unit)
