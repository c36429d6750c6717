"""PEP: values shrink by a learned threshold, and what shrinks to zero is pruned."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from recsys.tables.base import DEFAULT_INIT_STD, Constants
from recsys.tables.numbers import check_number
from recsys.tables.physical import PhysicalTable
from recsys.tables.searched import SearchedTable


class PEPTable(SearchedTable):
    """Every value is brought nearer to zero by a threshold that is learned with it; those below it are zeros.

    Source: Liu et al., "Learnable embedding sizes for recommender systems" (ICLR 2021, arXiv:2101.07577):
    sign(v) relu(|v| - sigmoid(s)), with s for the table or for each of its columns.

    Shape:
        ids [N] -> embeddings [N, D]; memory V rows of D, and s.

    Differs from the paper: thresholds begin nearer to the values, since training may be short, and it does not stop at
    a rate of pruning; what is pruned is selected afterwards, by how far values are below their thresholds, to the bytes
    that are asked for.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        per_column: a threshold for each column, instead of one for the table.
        init_threshold: sigmoid(s) at the start, as a fraction of init_std. It takes 1 / lr steps of Adam to grow
            e-fold, so short runs begin where it ought to end: the more, the smaller what is selected may be.
        penalty_weight: of the thresholds' complements, which is added to the loss and pushes them up; 0 leaves them to
            the loss and to weight decay.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if init_threshold, or it times init_std, is outside (0, 1), or the weight negative.
    """

    selects = "values"

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        per_column: bool = True,
        init_threshold: float = 0.1,
        penalty_weight: float = 0.0,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        if not 0 < init_threshold < 1:
            raise ValueError(f"PEPTable '{name}': init_threshold must be in (0, 1), got {init_threshold}.")
        check_number(f"PEPTable '{name}'", "penalty_weight", penalty_weight)
        self.per_column, self.init_std, self.penalty_weight = per_column, init_std, penalty_weight
        size = init_threshold * init_std
        if not 0 < size < 1:
            raise ValueError(
                f"PEPTable '{name}': init_threshold * init_std must be in (0, 1), got {init_threshold} * {init_std}."
            )
        start = torch.full((embedding_dim if per_column else 1,), math.log(size / (1 - size)))
        self.s = nn.Parameter(start)
        self._row_std = init_std * _std_before_shrinking(init_threshold)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix, V x D, of values as much larger as the threshold will make them smaller."""
        return (PhysicalTable(self.name, self.num_embeddings, self.embedding_dim, self._row_std),)

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """Soft thresholding."""
        return soft_threshold(rows, torch.sigmoid(parameters["s"]).to(rows.dtype))

    def regularizer(self) -> Tensor | None:
        """Pushes the thresholds up."""
        return -self.penalty_weight * torch.nn.functional.logsigmoid(self.s).sum() if self.penalty_weight else None

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Equal to rounding: rows are as far above their thresholds as vectors are long."""
        super().fit(vectors + torch.sign(vectors) * torch.sigmoid(self.s), ids, rows)

    def scores(self, rows: Tensor) -> Tensor:
        """By how much magnitudes are above their thresholds."""
        return rows.abs() - torch.sigmoid(self.s.detach()).to(rows)


def _std_before_shrinking(threshold: float) -> float:
    """Of uniform values that have mean square 1 once a threshold has brought them nearer to zero.

    Of values in [-a, a] that is (a - threshold) ** 3 / (3 a); each round is at least twice as near.

    >>> round(_std_before_shrinking(0.0), 6), round(_std_before_shrinking(0.5), 3)
    (1.0, 1.41)
    """
    largest = math.sqrt(3)
    for _ in range(60):
        largest = threshold + (3 * largest) ** (1 / 3)
    return largest / math.sqrt(3)


def soft_threshold(values: Tensor, threshold: Tensor) -> Tensor:
    """Values [N, G, D] nearer to zero by a threshold [G, D] or [G, 1]; zeros where they are below it."""
    return torch.sign(values) * torch.relu(values.abs() - threshold)
