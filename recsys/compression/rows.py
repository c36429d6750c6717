"""Whole rows, by how much the loss would feel their absence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recsys.compression.histograms import counts_above, lowest_place, threshold_of
from recsys.compression.method import Method, bytes_of
from recsys.compression.trained import Compressed, TrainedTable, compact
from recsys.tables.routing.ranks import WORD_BITS


class RowPruning(Method):
    """Keeps the rows that are read often and lie far from the common vector, which all others take.

    Source: the second-order saliency of LeCun et al., "Optimal brain damage" (NIPS 1989), summed over a row: frequency
    x sensitivity x squared distance. Rows of all tables compete, since they take equally many bytes.
    """

    name = "rows"

    def compress(self, tables: Sequence[TrainedTable], budget_bytes: int) -> dict[str, Compressed]:
        """See Method."""
        scores = [row_scores(table) for table in tables]

        num_bytes = torch.stack(
            [_num_bytes(table, counts_above(own)) for table, own in zip(tables, scores, strict=True)]
        ).sum(0)
        place = lowest_place(num_bytes, budget_bytes)
        if place is None:
            raise self.refuse(budget_bytes, int(num_bytes[-1]))
        threshold = threshold_of(place)
        found = {
            table.name: compact(table, own >= threshold, None, mean_of_others(table, own >= threshold))
            for table, own in zip(tables, scores, strict=True)
        }
        assert bytes_of(found) <= budget_bytes
        return found


def row_scores(table: TrainedTable) -> Tensor:
    """[V] what pruning each row would cost by second order, in float32."""
    found = torch.empty(table.num_embeddings)
    mean = table.mean()
    for piece in table.pieces():
        distances = (table.vectors[piece] - mean).square_() @ table.sensitivity
        found[piece] = table.weights[piece] * distances
    return found


def mean_of_others(table: TrainedTable, kept: Tensor) -> Tensor:
    """[D] the mean by frequency of the ids that are not kept, which they are nearest to; zeros if all are kept."""
    total, weight = torch.zeros(table.embedding_dim, dtype=torch.float64), 0.0
    for piece in table.pieces():
        weights = (table.weights[piece] * ~kept[piece]).double()
        total += weights @ table.vectors[piece].double()
        weight += float(weights.sum())
    return (total / weight).float() if weight else total.float()


def _num_bytes(table: TrainedTable, num_kept: Tensor) -> Tensor:
    """The most bytes that a table with so many rows takes, as `compact` makes it."""
    bits = 12 * -(-table.num_embeddings // WORD_BITS)
    found = 4 * table.embedding_dim * (num_kept + 1) + bits * (num_kept > 0)
    return torch.where(num_kept == table.num_embeddings, table.full_bytes, found)
