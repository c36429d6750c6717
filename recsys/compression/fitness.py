"""How well a searched model does with given widths, its rows pruned until the budget is met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from recsys.compression.evolution import Candidate
from recsys.compression.quality import quality_of
from recsys.compression.selection import Searched
from recsys.compression.session_probe import changed_vectors
from recsys.tables import OptEmbedTable, Table
from recsys.tasks import TableTask


class Fitness:
    """AUC, or NDCG@10, on some labelled batches with the weights of the search, as a function of the widths of tables.

    Args:
        task: searched, in evaluation mode.
        searched: what its tables have learned.
        batches: labelled.
        widths: that a table may have.
        budget_bytes: of all tables together.
        bf16: score in mixed precision with bfloat16, as the model's trainer does.
    """

    def __init__(
        self,
        task: TableTask,
        searched: Searched,
        batches: Sequence[Any],
        widths: Sequence[int],
        budget_bytes: int,
        bf16: bool = False,
    ) -> None:
        self._task, self._searched, self._batches = task, searched, batches
        self._widths, self._budget_bytes = widths, budget_bytes
        self._quality = quality_of(task, bf16)

    def widths(self, candidate: Candidate) -> dict[str, int]:
        """The widths that a candidate stands for, by table."""
        return dict(zip(self._searched.rows, (self._widths[place] for place in candidate), strict=True))

    def offset(self, widths: Mapping[str, int]) -> float | None:
        """What must be taken off the scores of rows; None if nothing fits."""
        return self._searched.offset(widths, self._task.embedding_dim, self._budget_bytes)

    @torch.inference_mode()
    def __call__(self, candidate: Candidate) -> float:
        """The metric; 0 if nothing fits."""
        widths = self.widths(candidate)
        offset = self.offset(widths)
        if offset is None:
            return 0.0
        collection, dim = self._task.collection, self._task.embedding_dim
        columns = torch.arange(dim, device=self._task.device)
        kept = torch.stack([columns < widths.get(feature.table, dim) for feature in collection.features])
        tables = [collection.table(name) for name in widths]
        with _raised(tables, offset), changed_vectors(collection, lambda vectors: vectors * kept):
            return self._quality.value(self._quality.collect(self._batches))


@contextmanager
def _raised(tables: Sequence[Table], offset: float) -> Iterator[None]:
    """Thresholds are higher, and are put back."""
    searching = [table for table in tables if isinstance(table, OptEmbedTable)]
    before = [table.threshold.clone() for table in searching]
    try:
        for table in searching:
            table.raise_threshold(offset)
        yield
    finally:
        for table, threshold in zip(searching, before, strict=True):
            table.threshold.copy_(threshold)
