"""How well a searched model does with given widths, its rows pruned until the budget is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from recsys.compression.evolution import Candidate
from recsys.compression.selection import Searched
from recsys.data.batch import Batch
from recsys.evaluation import auc
from recsys.tables import OptEmbedTable
from recsys.tasks import CTRTask


class Fitness:
    """AUC on some labelled batches with the weights of the search, as a function of the widths of tables.

    Args:
        task: searched, in evaluation mode.
        searched: what its tables have learned.
        batches: labelled.
        widths: that a table may have.
        budget_bytes: of all tables together.
    """

    def __init__(
        self, task: CTRTask, searched: Searched, batches: Sequence[Batch], widths: Sequence[int], budget_bytes: int
    ) -> None:
        self._task, self._searched, self._batches = task, searched, batches
        self._widths, self._budget_bytes = widths, budget_bytes
        labels = [batch.labels for batch in batches if batch.labels is not None]
        self._labels = torch.cat(labels).cpu().numpy()

    def widths(self, candidate: Candidate) -> dict[str, int]:
        """The widths that a candidate stands for, by table."""
        return dict(zip(self._searched.rows, (self._widths[place] for place in candidate), strict=True))

    def offset(self, widths: Mapping[str, int]) -> float | None:
        """What must be taken off the scores of rows; None if nothing fits."""
        return self._searched.offset(widths, self._task.embedding_dim, self._budget_bytes)

    @torch.inference_mode()
    def __call__(self, candidate: Candidate) -> float:
        """The AUC; 0 if nothing fits."""
        widths = self.widths(candidate)
        offset = self.offset(widths)
        if offset is None:
            return 0.0
        collection, dim = self._task.collection, self._task.embedding_dim
        columns = torch.arange(dim, device=self._task.device)
        kept = torch.stack([columns < widths.get(feature.table, dim) for feature in collection.features])
        tables = [collection.table(name) for name in widths]
        thresholds = [table.threshold.clone() for table in tables if isinstance(table, OptEmbedTable)]
        try:
            for table in tables:
                assert isinstance(table, OptEmbedTable)
                table.raise_threshold(offset)
            logits = [
                self._task.model(collection(batch.ids, batch.bags) * kept, batch.dense).float()
                for batch in self._batches
            ]
        finally:
            for table, threshold in zip(tables, thresholds, strict=True):
                assert isinstance(table, OptEmbedTable)
                table.threshold.copy_(threshold)
        return float(auc(self._labels, torch.cat(logits).cpu().numpy().astype(np.float32)))
