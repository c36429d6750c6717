"""Scores of all items, in which equal items tie exactly."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.losses import Scoring, item_side
from recsys.tasks.equal_items import equal_rows

_ALIGNMENT = 16


class ItemScores:
    """Scores queries, which scoring has made of hidden states, against all items.

    Each vector is scored once, whichever items have it (see equal_items), and queries come in multiples of 16.

    Args:
        vectors: [V, D] of all items.
        scoring: how states and vectors become scores.
    """

    def __init__(self, vectors: Tensor, scoring: Scoring) -> None:
        items = item_side(scoring, vectors)
        firsts, self._places = equal_rows(items)
        self._items = items if self._places is None else items.index_select(0, firsts)

    def __call__(self, queries: Tensor) -> Tensor:
        """[B, D] -> float32 [B, V], column c for item c + 1.

        Raises:
            ValueError: if a score is NaN or infinite.
        """
        with torch.autocast(queries.device.type, enabled=False):
            filled = F.pad(queries, (0, 0, 0, -len(queries) % _ALIGNMENT))
            scores = (filled @ self._items.t())[: len(queries)]
        scores = scores if self._places is None else scores.index_select(1, self._places)
        check_scores(scores)
        return scores


def check_scores(scores: Tensor) -> None:
    """Refuse scores that rank nothing.

    Raises:
        ValueError: if one is NaN or infinite.
    """
    # One sum tells of most batches that there is none.
    if not scores.sum().isfinite() and (num_wrong := int((~scores.isfinite()).sum())):
        raise ValueError(
            f"{num_wrong:,} of {scores.numel():,} scores are NaN or infinite: training has diverged, or the checkpoint "
            "holds such numbers."
        )
