"""AutoSrh: columns weigh differently for frequent and for rare ids, and what weighs little is pruned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from recsys.tables.base import DEFAULT_INIT_STD, Constants
from recsys.tables.numbers import check_number
from recsys.tables.searched import SearchedTable

_MAX_GROUPS = 1 << 10
"""Each id is compared with the first of every group."""


class AutoSrhTable(SearchedTable):
    """Ids in order of falling count are cut into groups, and each group has a learned weight for every column.

    Source: "AutoSrh: an embedding dimensionality search framework for tabular data prediction" (TKDE 2023). Its L1
    penalty of the weights is here too.

    Shape:
        ids [N] -> embeddings [N, D]; memory V rows of D, and num_groups x D weights.

    Differs from the paper: weights learn with the rows on the same data, instead of in turn on others; what is selected
    is trained again from its initial values.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V), the most frequent first.
        embedding_dim: D.
        num_groups: of ids, equally many in each; at most 1024.
        penalty_weight: of the mean magnitude of the weights, which is added to the loss.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if num_groups is out of range, or the weight negative or no finite number.
    """

    selects = "values"

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_groups: int = 6,
        penalty_weight: float = 1e-5,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.require("num_groups", num_groups, 1, _MAX_GROUPS)
        check_number(f"AutoSrhTable '{name}'", "penalty_weight", penalty_weight)
        self.num_groups, self.penalty_weight, self.init_std = num_groups, penalty_weight, init_std
        self.register_constants(first_id=[num_embeddings * group // num_groups for group in range(num_groups)])
        self.column_weights = nn.Parameter(torch.ones(num_groups, embedding_dim))

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """The row times the weights of its id's group."""
        weights = parameters["column_weights"].to(rows.dtype)
        groups = (ids.unsqueeze(-1) >= constants["first_id"]).sum(-1) - 1
        tables = torch.arange(weights.shape[0], device=ids.device)
        return rows * weights[tables, groups]

    def regularizer(self) -> Tensor | None:
        """Pushes weights to zero."""
        return self.penalty_weight * self.column_weights.abs().mean() if self.penalty_weight else None

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Equal; weights start afresh."""
        self.column_weights.fill_(1)
        super().fit(vectors, ids, rows)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """None.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"AutoSrhTable '{self.name}' cannot grow to num_embeddings={num_embeddings}: its groups are equal parts of "
            "the ids, and old ids would pass from one to another; make a new table and train it."
        )

    def scores(self, rows: Tensor) -> Tensor:
        """Magnitudes of the weighted values of all rows [V, D]."""
        ids = torch.arange(self.num_embeddings, device=rows.device)
        groups = torch.searchsorted(self.get_buffer("first_id"), ids, right=True) - 1
        return (rows * self.column_weights.detach().to(rows)[groups]).abs()
