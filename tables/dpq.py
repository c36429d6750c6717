"""Differentiable product quantisation.

Source: Chen, Li and Sun, "Differentiable product quantization for end-to-end embedding compression" (ICML 2020),
arXiv:1908.09756, its vector-quantised form.
"""

from __future__ import annotations

from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants
from recsys.tables.product_quantized import ProductQuantizedTable


class DPQTable(ProductQuantizedTable):
    """Differentiable product quantisation: every id chooses among all centroids.

    Shape:
        ids [N] -> embeddings [N, D]; memory while training V rows of D and num_choices * D values of centroids; when
        served num_parts codes per id and the centroids.

    Differs from the paper: centroids also get the gradient of the task, which is exact for them, where the authors move
    them by the penalty alone; rows are pulled to their centroids as in VQ-VAE (`commitment`); no batch normalisation of
    distances, so that a code depends on its id alone and the served vector is the trained one.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        num_parts: pieces of a row, and codes per id; None takes 4, or the largest number below that D is a multiple of.
        num_choices: centroids of each piece, at least 2 and at most 32768.
        penalty_weight: of the mean over a batch's ids of the squared distance of row and vector, as it moves centroids.
        commitment: share of penalty_weight with which the same distance moves rows.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if D is no multiple of num_parts, or a number is out of range.
    """

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_parts: int | None = None,
        num_choices: int = 32,
        penalty_weight: float = 1.0,
        commitment: float = 0.25,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(
            name,
            num_embeddings,
            embedding_dim,
            num_parts=num_parts,
            num_choices=num_choices,
            penalty_weight=penalty_weight,
            commitment=commitment,
            init_std=init_std,
        )
        self.draw_centroids()

    def restricted(self, ids: Tensor, constants: Constants) -> tuple[Tensor, int] | None:
        """None."""
        return None
