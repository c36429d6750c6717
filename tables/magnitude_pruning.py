"""What the methods share that set the smallest values of a table to zero while it trains."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD
from recsys.tables.searched import SearchedTable
from recsys.tables.upkeep import Rows

_PIECE_ROWS = 1 << 18
_SAMPLE_VALUES = 1 << 22


class MagnitudePruningTable(SearchedTable):
    """Every few steps the values of smallest magnitude become zeros, as many as a schedule says.

    Thresholds of tables of more than four million values are those of a part of them.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        pruned_fraction: of the values, in the end; in [0, 1).
        prune_every: steps between prunings.
        prune_from: steps before the first.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if pruned_fraction is outside [0, 1), or a number of steps too small.
    """

    selects = "values"
    counts_batches = True

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        pruned_fraction: float = 0.9,
        prune_every: int = 100,
        prune_from: int = 0,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        if not 0 <= pruned_fraction < 1:
            raise ValueError(
                f"{type(self).__name__} '{name}': pruned_fraction must be in [0, 1), got {pruned_fraction}."
            )
        self.require("prune_every", prune_every, 1)
        self.require("prune_from", prune_from, 0)
        self.pruned_fraction, self.prune_every, self.prune_from = pruned_fraction, prune_every, prune_from
        self.init_std = init_std
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.int64))

    @abstractmethod
    def fraction_at(self, step: int) -> float:
        """The part of the values that is pruned after so many steps."""

    @torch.no_grad()
    def observe(self, ids: Tensor, rows: Rows) -> None:
        """One step more; prune if it is time."""
        step = int(self.get_buffer("num_steps").add_(1))
        if step > self.prune_from and (step - self.prune_from) % self.prune_every == 0:
            self._prune(self.fraction_at(step), rows)

    def _prune(self, fraction: float, rows: Rows) -> None:
        """Set the smallest values to zero."""
        device = self.get_buffer("num_steps").device
        stride = max(1, self.num_embeddings * self.embedding_dim // _SAMPLE_VALUES)
        sample = rows.read_rows(self.name, torch.arange(0, self.num_embeddings, stride, device=device))
        number = int(fraction * sample.numel())
        if not number:
            return
        threshold = sample.abs().reshape(-1).kthvalue(number).values
        for start in range(0, self.num_embeddings, _PIECE_ROWS):
            piece = torch.arange(start, min(start + _PIECE_ROWS, self.num_embeddings), device=device)
            values = rows.read_rows(self.name, piece)
            rows.write_rows(self.name, piece, values * (values.abs() > threshold))

    def scores(self, rows: Tensor) -> Tensor:
        """Magnitudes."""
        return rows.abs()
