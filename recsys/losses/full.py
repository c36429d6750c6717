"""Cross-entropy over the whole catalogue, in bounded memory."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from recsys.argument_types import typed
from recsys.losses.base import ItemReader, Loss, Reading
from recsys.losses.checks import check_called, check_read, check_sides
from recsys.losses.scoring import Scoring, item_side, query_side
from recsys.losses.totals import log_totals, sum_of_losses
from recsys.models.checks import check_at_least


class FullCrossEntropy(Loss):
    """Softmax cross-entropy over all items, exact.

    A catalogue of up to `chunk_items` is read in one lookup, which also serves the inputs. A larger one is read
    `chunk_items` at a time, and read again in the backward pass: no more item vectors than a chunk's ever exist.
    Either way scores are made and dropped block by block.

    Args:
        chunk_items: items read at a time.

    Raises:
        ValueError: if chunk_items is below 1.
    """

    @typed
    def __init__(self, chunk_items: int = 1 << 16) -> None:
        check_at_least("FullCrossEntropy", "chunk_items", chunk_items, 1)
        self.chunk_items = chunk_items

    def read(self, reader: ItemReader, inputs: Tensor, targets: Tensor) -> Reading:
        """All items, or those that are to be read and named where there are several chunks."""
        check_read("FullCrossEntropy", reader, inputs, targets)
        num_items = reader.catalogue.num_items
        if num_items > self.chunk_items:
            read, positives = reader.together(inputs, targets)
            return Reading(reader, read, targets, positives)
        items = reader.read(reader.catalogue.ids(targets.device))
        return Reading(reader, items.index_select(0, inputs - 1), targets, negatives=items)

    def __call__(self, hidden: Tensor, reading: Reading, scoring: Scoring) -> Tensor:
        """See Loss."""
        check_called("FullCrossEntropy", hidden, reading)
        queries = query_side(scoring, hidden)
        if reading.negatives is not None:
            items = item_side(scoring, reading.negatives)
            check_sides("FullCrossEntropy", queries, items)
            return sum_of_losses(queries, items, reading.targets - 1)
        assert reading.positives is not None
        positives = item_side(scoring, reading.positives)
        check_sides("FullCrossEntropy", queries, positives)
        wanted = (queries * positives).sum()
        chunks = reading.reader.catalogue.ids(hidden.device).split(self.chunk_items)
        totals = [checkpoint(_totals_of, queries, ids, reading.reader, scoring, use_reentrant=False) for ids in chunks]
        return torch.stack(totals).logsumexp(0).sum() - wanted


def _totals_of(queries: Tensor, ids: Tensor, reader: ItemReader, scoring: Scoring) -> Tensor:
    """Log of the sum of exponentiated scores of some items: queries [P, D], ids [C] -> [P]."""
    return log_totals(queries, item_side(scoring, reader.read(ids)))
