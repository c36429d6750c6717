"""DeepLight: the smallest values are set to zero while training, more and more of them."""

from __future__ import annotations

from recsys.tables.magnitude_pruning import MagnitudePruningTable


class DeepLightTable(MagnitudePruningTable):
    """Every few steps the values of smallest magnitude become zeros; those that gradients reach may grow again.

    Source: Deng et al., "DeepLight: deep lightweight feature interactions for accelerating CTR predictions in ad
    serving" (WSDM 2021, arXiv:2002.06987); the pruned part grows as pruned_fraction (1 - 0.99 ** (step / 100)).

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
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if pruned_fraction is outside [0, 1), or a number of steps too small.
    """

    def fraction_at(self, step: int) -> float:
        """The part of the values that is pruned after so many steps."""
        return self.pruned_fraction * (1 - 0.99 ** (max(0, step - self.prune_from) / 100))
