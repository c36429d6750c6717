"""Gradual magnitude pruning: fast at first, when there is most to prune, and slower towards the end."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants
from recsys.tables.magnitude_pruning import MagnitudePruningTable


class GradualPruningTable(MagnitudePruningTable):
    """The values of smallest magnitude become zeros by a cubic schedule, and stay zeros: no gradient reaches them.

    Source: Zhu and Gupta, "To prune, or not to prune: exploring the efficacy of pruning for model compression"
    (arXiv:1710.01878), equation 1: after t of the schedule's T steps, pruned_fraction (1 - (1 - t / T) ** 3) is pruned.

    Shape:
        ids [N] -> embeddings [N, D]; memory V rows of D.

    Differs from the paper: a value is pruned where it is zero, instead of by a mask beside it, so that an optimizer
    with momentum may move it still for some steps; the next pruning, which the end of the schedule does not stop,
    returns it. A value that is zero from the start, as of given vectors, never learns. Thresholds of large tables are
    those of a part of their values.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        pruned_fraction: of the values, from the end of the schedule on; in [0, 1).
        num_pruning_steps: T, of the whole schedule.
        prune_every: steps between prunings.
        prune_from: steps before the schedule begins.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if pruned_fraction is outside [0, 1), or a number of steps too small.
    """

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        pruned_fraction: float = 0.9,
        num_pruning_steps: int = 10_000,
        prune_every: int = 100,
        prune_from: int = 0,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(
            name,
            num_embeddings,
            embedding_dim,
            pruned_fraction=pruned_fraction,
            prune_every=prune_every,
            prune_from=prune_from,
            init_std=init_std,
        )
        self.require("num_pruning_steps", num_pruning_steps, 1)
        self.num_pruning_steps = num_pruning_steps

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """The row; values that are zero get no gradient."""
        return rows * (rows != 0)

    def fraction_at(self, step: int) -> float:
        """The part of the values that is pruned after so many steps."""
        done = min(1.0, max(0, step - self.prune_from) / self.num_pruning_steps)
        return self.pruned_fraction * (1 - (1 - done) ** 3)
