"""What tasks on sessions share: items described, one reader of their vectors, and ranking over all items."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from recsys.data import SessionBatch
from recsys.losses import Catalogue, DotProduct, ItemReader, Scoring
from recsys.losses.checks import check_item_ids
from recsys.metrics.next_item import RankingMetrics, exclude, ranks_of_targets
from recsys.models.checks import check_at_least
from recsys.tasks.base import TableTask
from recsys.tasks.batch_checks import check_session_batch
from recsys.tasks.dense_optimizer import DenseOptimizer
from recsys.tasks.item_features import ITEM, ItemCatalogue
from recsys.tasks.item_scores import ItemScores
from recsys.tasks.items import ItemSide, item_matrix
from recsys.tasks.session_checks import Needs, check_sessions
from recsys.tasks.tables import TableSettings


class SessionTask(TableTask, ABC):
    """Ranks the whole catalogue for each session.

    A subclass makes queries of sessions in `forward`, trains them, and says what data it needs. In evaluation the item
    matrix is made once, in chunks, and dropped at the end.

    Over several processes (trainer.strategy: torchrec) the loss is the mean over the targets of all of them and metrics
    are those of all sessions, as in one process. Only what is drawn differs: each process draws its own dropout, masks
    and negatives, and in-batch negatives are the targets of its own batch.

    Args:
        schema: of the data.
        settings: of the tables.
        items: what turns ids into vectors.
        scoring: how states and item vectors become scores; by default DotProduct.
        optimizer: of all dense parameters, and the schedule of all rates.
        eval_chunk_items: items whose vectors are made at a time for evaluation.
        num_predictions: items that `predict` lists for each session.

    Raises:
        ValueError: if a setting is out of range.
    """

    shardable = True
    made_of_data = ("items.features", "items.bags.", "items.numbers.given", "heads.values")
    filters_seen: ClassVar[bool] = True
    """Whether items of a session's history are left out of the ranking where the data module does not say."""

    def __init__(
        self,
        schema: ItemCatalogue,
        settings: TableSettings,
        items: ItemSide,
        scoring: Scoring | None,
        optimizer: DenseOptimizer,
        eval_chunk_items: int = 1 << 16,
        num_predictions: int = 10,
    ) -> None:
        super().__init__(settings, optimizer)
        for name, value in (("eval_chunk_items", eval_chunk_items), ("num_predictions", num_predictions)):
            check_at_least(type(self).__name__, name, value, 1)
        self.schema, self.reads = schema, (ITEM,)
        self.num_items = schema.num_items
        self.items = items
        self.scoring = scoring or DotProduct()
        self.register_buffer("item_counts", torch.from_numpy(schema.item_counts()), persistent=False)
        self._eval_chunk_items = eval_chunk_items
        self._num_predictions = min(num_predictions, schema.num_items)
        self._item_scores: ItemScores | None = None
        self._catalogue: Catalogue | None = None
        self._is_evaluating = False
        self._metrics = RankingMetrics(self.get_buffer("item_counts"))

    @abstractmethod
    def needs(self) -> Needs:
        """What the data and the rows must fit."""

    def check_fits(self, checkpoint: Mapping[str, Any]) -> None:
        """See TableTask; items' vectors were once projected outside of the tables.

        Raises:
            ValueError: naming what differs.
        """
        if any(name.startswith("items.text.") for name in checkpoint.get("state_dict", {})):
            raise ValueError(
                "the checkpoint adds a projection of items' vectors to their rows outside of the tables, from before "
                "ContentTable did; train anew with SumTable(tables=[FullTable, ContentTable]) as the table of items."
            )
        super().check_fits(checkpoint)

    def setup(self, stage: str) -> None:
        """Refuse data, and rows, that do not fit the task."""
        super().setup(stage)
        check_sessions(self.needs(), self.trainer, stage)

    def item_vectors(self, ids: Tensor) -> Tensor:
        """Vectors [N, D] of items [N].

        Raises:
            ValueError: if they are no ids of items.
        """
        check_item_ids(type(self).__name__, "items", ids, self.catalogue, dims=1)
        vectors: Tensor = self.items(self.collection, ids)
        return vectors

    @property
    def reader(self) -> ItemReader:
        """Reads vectors of a step's items."""
        return ItemReader(self.catalogue, self.item_vectors)

    @property
    def catalogue(self) -> Catalogue:
        """The items there are; its counts are looked at once wherever they are moved to."""
        counts = self.get_buffer("item_counts")
        if self._catalogue is None or self._catalogue.counts is not counts:
            self._catalogue = Catalogue(self.num_items, counts)
        return self._catalogue

    def scores(self, batch: SessionBatch) -> Tensor:
        """Scores [B, V] of all items, column c for item c + 1; items that a session has seen get -inf.

        Raises:
            ValueError: if a score is NaN or infinite.
        """
        return self.without_seen(self._scored_items()(self(batch)), batch)

    def without_seen(self, scores: Tensor, batch: SessionBatch) -> Tensor:
        """The scores, in place, with -inf for items not to be recommended."""
        if batch.seen is not None:
            exclude(scores, batch.seen)
        return scores

    def _scored_items(self) -> ItemScores:
        """All items' vectors as scored; kept during an evaluation, while no row can change."""
        if self._item_scores is not None:
            return self._item_scores
        vectors = item_matrix(self.items, self.collection, self.num_items, self._eval_chunk_items, self.device)
        scores = ItemScores(vectors, self.scoring)
        self._item_scores = scores if self._is_evaluating else None
        return scores

    def _evaluate(self, is_evaluating: bool) -> None:
        self._is_evaluating, self._item_scores = is_evaluating, None

    def on_validation_epoch_start(self) -> None:
        """Make the item matrix anew."""
        self._evaluate(True)

    def on_test_epoch_start(self) -> None:
        """Make the item matrix anew."""
        self._evaluate(True)

    def on_predict_epoch_start(self) -> None:
        """Make the item matrix anew."""
        self._evaluate(True)

    def validation_step(self, batch: SessionBatch, batch_idx: int) -> None:
        """Collect ranks and lists."""
        self._collect(batch)

    def test_step(self, batch: SessionBatch, batch_idx: int) -> None:
        """Collect ranks and lists."""
        self._collect(batch)

    def _collect(self, batch: SessionBatch) -> None:
        check_session_batch(type(self).__name__, batch)
        if batch.targets is None:
            raise ValueError(f"{type(self).__name__}: the batch has no targets to rank, as those of training.")
        self._metrics.update(self.scores(batch), batch.targets, batch.history)

    def predict_step(self, batch: SessionBatch, batch_idx: int) -> dict[str, Tensor]:
        """The items scored best, best first: ids, 0 where none is left, and scores [B, num_predictions].

        Beside them, where the data have them, the user, the target and the target's rank among all items [B], ties
        counted against it.
        """
        scores = self.scores(batch)
        best = scores.topk(self._num_predictions, dim=1)
        items = (best.indices + 1).masked_fill(best.values == -torch.inf, 0)
        named = {} if batch.users is None else {"user": batch.users}
        if batch.targets is not None:
            named |= {"target": batch.targets, "rank": ranks_of_targets(scores, batch.targets - 1)}
        return {**named, "items": items, "scores": best.values}

    def on_validation_epoch_end(self) -> None:
        """Log the split's metrics."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Log the split's metrics."""
        self._log_metrics("test")

    def on_predict_epoch_end(self) -> None:
        """Drop the item matrix."""
        self._evaluate(False)

    def _log_metrics(self, split: str) -> None:
        for name, value in self._metrics.compute().items():
            self.log(f"{split}/{name}", value, prog_bar=name == "ndcg@10")
        self._metrics.reset()
        self._evaluate(False)
