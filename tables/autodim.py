"""AutoDim: a weight for each width that a table's rows may have, learned with the rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.mixed_dim import MixedDimTable, initial_projection
from recsys.tables.physical import PhysicalTable
from recsys.tables.searched import SearchedTable
from recsys.tables.upkeep import Rows

_COLDEST = 0.01
_NARROWEST = 4


class AutoDimTable(SearchedTable):
    """The first columns of a row, projected to D, for each of some widths; a learned softmax weighs the widths.

    Source: Zhao et al., "AutoDim: field-aware embedding dimension search in recommender systems" (WWW 2021,
    arXiv:2006.14827): widths share one row, weights are a softmax with Gumbel noise, whose temperature falls.

    Shape:
        ids [N] -> embeddings [N, D]; memory V rows of D, a projection of width x D for each width below D, and weights.

    Differs from the paper: candidates are not batch-normalised, but begin equally large, and full width has no
    projection; weights learn with the rows on the same data, instead of in turn on others; the widths that are selected
    are the most probable ones that fit a budget together.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        widths: that rows may have, ascending, the last D; by default powers of two from 4, and D.
        samples_widths: False trains without noise.
        anneal_steps: steps in which the temperature falls from 1 to 0.01.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if widths are not ascending from 1 to D, or anneal_steps is below 1.
    """

    selects = "widths"
    counts_batches = True

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        widths: Sequence[int] | None = None,
        samples_widths: bool = True,
        anneal_steps: int = 20_000,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.widths = default_widths(embedding_dim) if widths is None else list(widths)
        ascending = all(one < other for one, other in pairwise([0, *self.widths]))
        if not self.widths or not ascending or self.widths[-1] != embedding_dim:
            raise ValueError(
                f"AutoDimTable '{name}': widths must ascend from at least 1 to embedding_dim={embedding_dim}, got "
                f"{self.widths}."
            )
        self.require("anneal_steps", anneal_steps, 1)
        self.samples_widths, self.anneal_steps, self.init_std = samples_widths, anneal_steps, init_std
        narrow = [initial_projection(name, width, embedding_dim) for width in self.widths[:-1]]
        self.projections = nn.Parameter(torch.cat([torch.empty(0, embedding_dim), *narrow]))
        self.width_logits = nn.Parameter(torch.zeros(len(self.widths)))
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.int64))
        # Candidates are as large as the vector should be; their mean is smaller.
        self._row_std = init_std * math.sqrt(embedding_dim) / float(self._mean_projection().norm())

    def _mean_projection(self) -> Tensor:
        """[D, D] what rows are multiplied with when all widths weigh the same."""
        weights = torch.full((1, len(self.widths)), 1 / len(self.widths))
        return self._mixture(self.projections.detach().unsqueeze(0), weights).squeeze(0)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix, V x D, which all widths share."""
        return (PhysicalTable(self.name, self.num_embeddings, self.embedding_dim, self._row_std),)

    @torch.no_grad()
    def observe(self, ids: Tensor, rows: Rows) -> None:
        """One step more, which lowers the temperature."""
        self.get_buffer("num_steps").add_(1)

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """The candidates' weighted sum; since each is linear in the row, that is one matrix for all of them."""
        logits = parameters["width_logits"]
        if self.training and self.samples_widths:
            logits = logits - torch.empty_like(logits).exponential_().log()
        mixture = self._mixture(parameters["projections"], self._weights(logits)).to(rows.dtype)
        return torch.einsum("ngw,gwd->ngd", rows, mixture)

    def _weights(self, logits: Tensor) -> Tensor:
        """What the widths weigh at the temperature of this step."""
        left = 1 - self.get_buffer("num_steps") / self.anneal_steps
        return (logits / left.clamp(min=_COLDEST).to(logits.dtype)).softmax(-1)

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Least squares for the widths as they weigh now."""
        weights = self._weights(self.width_logits.detach().unsqueeze(0))
        mixture = self._mixture(self.projections.detach().unsqueeze(0), weights).squeeze(0)
        rows[self.name][ids] = (vectors.double() @ torch.linalg.pinv(mixture.double())).to(vectors.dtype)

    def _mixture(self, projections: Tensor, weights: Tensor) -> Tensor:
        """[G, D, D] from projections [G, sum of widths below D, D] and weights [G, widths]."""
        dim = self.embedding_dim
        found = weights[:, -1:, None] * torch.eye(dim, dtype=weights.dtype, device=weights.device)
        parts = projections.to(weights.dtype).split(self.widths[:-1], 1) if self.widths[:-1] else ()
        for place, part in enumerate(parts):
            found = found + weights[:, place, None, None] * F.pad(part, (0, 0, 0, dim - part.shape[1]))
        return found

    def scores(self, rows: Tensor) -> Tensor:
        """Log-probabilities of the widths, [widths], at temperature 1."""
        return self.width_logits.detach().log_softmax(0)

    @torch.no_grad()
    def narrowed(self, rows: Tensor, width: int) -> tuple[Table, dict[str, Tensor]]:
        """The table of a width as it was when the search began, and the values of its matrix by name.

        Args:
            rows: [V, D] as they were then.
            width: one of `widths`.
        """
        table = MixedDimTable(self.name, self.num_embeddings, self.embedding_dim, row_dim=width, init_std=self.init_std)
        return table, {self.name: rows[:, :width] * (self.init_std / self._row_std)}


def default_widths(embedding_dim: int) -> list[int]:
    """Powers of two from 4, which kernels read without padding, and D.

    >>> default_widths(24)
    [4, 8, 16, 24]
    """
    powers = [_NARROWEST << place for place in range(embedding_dim.bit_length()) if _NARROWEST << place < embedding_dim]
    return [*powers, embedding_dim]
