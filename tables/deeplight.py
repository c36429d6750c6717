"""DeepLight: the smallest values are set to zero while training, more and more of them."""

from __future__ import annotations

from recsys.tables.base import DEFAULT_INIT_STD
from recsys.tables.magnitude_pruning import MagnitudePruningTable


class DeepLightTable(MagnitudePruningTable):
    """Every few steps the values of smallest magnitude become zeros; those that gradients reach may grow again.

    Source: Deng et al., "DeepLight: deep lightweight feature interactions for accelerating CTR predictions in ad
    serving" (WSDM 2021, arXiv:2002.06987); the pruned part grows as pruned_fraction (1 - damping ** (step / 100)).

    Shape:
        ids [N] -> embeddings [N, D]; memory V rows of D.

    Differs from the paper: pruning begins after a number of steps, not after an epoch of its own; thresholds of large
    tables are those of a part of their values.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        pruned_fraction: of the values, in the end; in [0, 1).
        prune_every: steps between prunings.
        prune_from: steps before the first.
        damping: of what is not pruned yet, in 100 steps; in (0, 1). The paper's 0.99 prunes nine tenths of it in 23,000
            steps: shorter runs want less.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if pruned_fraction is outside [0, 1), damping outside (0, 1), or a number of steps too small.
    """

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        pruned_fraction: float = 0.9,
        prune_every: int = 100,
        prune_from: int = 0,
        damping: float = 0.99,
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
        if not 0 < damping < 1:
            raise ValueError(f"DeepLightTable '{name}': damping must be in (0, 1), got {damping}.")
        self.damping = damping

    def fraction_at(self, step: int) -> float:
        """The part of the values that is pruned after so many steps."""
        return self.pruned_fraction * (1 - self.damping ** (max(0, step - self.prune_from) / 100))
