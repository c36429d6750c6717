"""Multi-granular quantised embeddings: product quantisation with fewer choices for rare ids.

Source: Kang et al., "Learning multi-granular quantized embeddings for large-vocab categorical features in recommender
systems" (WWW 2020), arXiv:2002.08530.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.product_quantized import ProductQuantizedTable


class MGQETable(ProductQuantizedTable):
    """Multi-granular quantised embeddings: a DPQTable whose rare ids choose among the first centroids alone.

    A frequent id is compared with num_choices centroids of every part, which is most of what a step of rows takes.

    Shape:
        as DPQTable.

    Differs from the paper: as DPQTable; codes of rare ids take as many bytes as the others.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V), the most frequent first.
        embedding_dim: D.
        num_frequent: the first num_frequent ids choose among all centroids; None takes a tenth of V.
        num_parts: pieces of a row, and codes per id; None takes 4, or the largest number below that D is a multiple of.
        num_choices: centroids of each piece, at most 32768.
        num_rare_choices: the first of them, for all other ids; at least 2.
        penalty_weight: see DPQTable.
        commitment: see DPQTable.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if D is no multiple of num_parts, or a number is out of range.
    """

    sizes = Table.sizes | {"num_frequent"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_frequent: int | None = None,
        num_parts: int | None = None,
        num_choices: int = 256,
        num_rare_choices: int = 64,
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
        num_frequent = -(-num_embeddings // 10) if num_frequent is None else num_frequent
        self.require("num_frequent", num_frequent, 0)
        self.require("num_rare_choices", num_rare_choices, 2, num_choices, "num_choices")
        self.num_rare_choices = num_rare_choices
        self.register_constants(num_frequent=[num_frequent])
        self.draw_centroids()

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """A row more for each id, which is rare."""
        return {"num_embeddings": num_embeddings, "num_frequent": int(self.get_buffer("num_frequent"))}

    def reads_as(self) -> str:
        """See KeptState."""
        return f"codes of rare ids among {self.num_rare_choices} centroids"

    def restricted(self, ids: Tensor, constants: Constants) -> tuple[Tensor, int] | None:
        """Those that are not frequent, and num_rare_choices."""
        return ids >= constants["num_frequent"].squeeze(-1), self.num_rare_choices
