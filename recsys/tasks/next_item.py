"""Next-item training: one item table for inputs and outputs, a session model, a loss, and ranking over all items."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat

import torch
from torch import Tensor, nn

from recsys.data import SessionBatch
from recsys.losses import Catalogue, DotProduct, FullCrossEntropy, Loss, Scoring, Step
from recsys.metrics.next_item import RankingMetrics, exclude, ranks_of_targets
from recsys.models import SumFusion
from recsys.tables import DenseGradient, FullTable, Lookup, TableOptimizer
from recsys.tables.budget import Bytes, Fraction
from recsys.tasks.base import OptimizerFactory, TableTask
from recsys.tasks.describe import ITEM, FusionFactory, ItemCatalogue, feature_heads, item_columns, item_side
from recsys.tasks.items import item_matrix
from recsys.tasks.length_groups import LengthGroups
from recsys.tasks.objectives import Examples, NextItem, Objective
from recsys.tasks.predictions import refuse_nan
from recsys.tasks.session_checks import Needs, check_sessions, times_needed
from recsys.tasks.tables import TableFactory, TableOptions, TableSettings

SessionModelFactory = Callable[[int, int], nn.Module]
"""Called with (embedding_dim, max_length)."""


class NextItemTask(TableTask):
    """Trains a model of sessions on an item table of any method, and ranks the whole catalogue.

    Items are scored with the vectors that they are read with. In training, inputs and outputs come from one lookup,
    so that a row is updated once a step; in evaluation the item matrix is made once, in chunks, and dropped at the end.

    Over several processes (trainer.strategy: torchrec) the loss is the mean over the targets of all of them and metrics
    are those of all sessions, as in one process. Only what is drawn differs: each process draws its own dropout, masks
    and negatives, and in-batch negatives are the targets of its own batch.

    Args:
        model: factory of the session model; receives (embedding_dim, max_length).
        schema: of the data; the command line takes it from the data module.
        embedding_dim: width D of every embedding.
        max_length: events of a session that the model reads, the latest.
        loss: of next-item prediction; by default FullCrossEntropy.
        scoring: how states and item vectors become scores; by default DotProduct.
        objective: what is predicted from what; by default NextItem.
        item_features: what describes an item: "item", its own id, and columns of the data's items. Without "item" no
            row belongs to one item, and items never seen in training are read and recommended like all others.
        fusion: factory of what makes the features' vectors one; receives (num_features, embedding_dim). By default
            SumFusion.
        text: name of vectors [V + 1, T] that the data have of items, such as those of their texts; they are projected
            to D by a trained layer and added, and are themselves not trained.
        predict: columns of the data's items that are predicted beside the next item, and the weights of their losses.
        tables: factories of tables, by entry; each receives (name, num_embeddings, embedding_dim).
        assign: for each entry, the features that use it, by name or pattern; the others use "default".
        exact_up_to: features with at most this many ids keep a FullTable, unless `assign` names them.
        table_options: optimizer, freezing and initial rows of an entry.
        table_optimizer: of all rows without an optimizer of their own; by default DenseGradient, because a full
            cross-entropy gives every row a gradient. With a sampled loss any other touches only the rows drawn.
        optimizer: of all dense parameters.
        warmup_steps: steps of linear warm-up, for rows and dense parameters alike.
        final_learning_rate_fraction: rates fall linearly to this fraction over the run; 1 keeps them.
        lookup: where rows live; by default the fastest that is installed: see NumbaLookup, FbgemmLookup, TorchLookup.
        clip_rows: trainer.gradient_clip_val counts the rows' gradients in its norm; otherwise the norm is that of the
            dense parameters, and rows are scaled by the same factor.
        budget_bytes: what all tables may take together, such as 8MB; those with a size to choose get as large as fits.
        budget_fraction: the same as a fraction of the full tables' bytes, such as 1%.
        eval_chunk_items: items whose vectors are made at a time for evaluation.
        num_predictions: items that `predict` lists for each session.

    Raises:
        ValueError: if the settings do not fit the schema or each other.
    """

    shardable = True

    def __init__(
        self,
        model: SessionModelFactory,
        schema: ItemCatalogue | None = None,
        embedding_dim: int = 64,
        max_length: int = 50,
        loss: Loss | None = None,
        scoring: Scoring | None = None,
        objective: Objective | None = None,
        item_features: list[str] | None = None,
        fusion: FusionFactory = SumFusion,
        text: str | None = None,
        predict: dict[str, float] | None = None,
        tables: dict[str, TableFactory] | None = None,
        assign: dict[str, list[str]] | None = None,
        exact_up_to: int = 0,
        table_options: dict[str, TableOptions] | None = None,
        table_optimizer: TableOptimizer | None = None,
        optimizer: OptimizerFactory = torch.optim.Adam,
        warmup_steps: int = 0,
        final_learning_rate_fraction: float = 1.0,
        lookup: type[Lookup] | None = None,
        clip_rows: bool = False,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        eval_chunk_items: int = 1 << 16,
        num_predictions: int = 10,
    ) -> None:
        if schema is None:
            raise ValueError("NextItemTask: schema is missing; pass SessionDataModule(...).schema.")
        columns = item_columns(schema, item_features or [ITEM])
        settings = TableSettings(
            columns=columns,
            embedding_dim=embedding_dim,
            table_optimizer=table_optimizer or DenseGradient(),
            tables=tables or {"default": FullTable},
            assign=assign or {},
            exact_up_to=exact_up_to,
            options=table_options or {},
            lookup=lookup,
            clip_rows=clip_rows,
            budget_bytes=budget_bytes,
            budget_fraction=budget_fraction,
        )
        super().__init__(settings, optimizer, warmup_steps, final_learning_rate_fraction)
        for name, value in (("eval_chunk_items", eval_chunk_items), ("num_predictions", num_predictions)):
            if value < 1:
                raise ValueError(f"NextItemTask: {name} must be at least 1, got {value}.")
        self.num_items = schema.num_items
        self.max_length = max_length
        self.model = model(embedding_dim, max_length)
        self.items = item_side(schema, columns, fusion, text, embedding_dim)
        self.heads = feature_heads(schema, predict or {}, embedding_dim)
        self.loss = loss or FullCrossEntropy()
        self.scoring = scoring or DotProduct()
        self.objective = objective or NextItem()
        self.objective.check(type(self.model).__name__, bool(self.model.causal))
        self.register_buffer("item_counts", torch.from_numpy(schema.item_counts()), persistent=False)
        self._eval_chunk_items = eval_chunk_items
        self._num_predictions = min(num_predictions, schema.num_items)
        self._item_matrix: Tensor | None = None
        self._is_evaluating = False
        self._metrics = RankingMetrics(self.get_buffer("item_counts"))

    def setup(self, stage: str) -> None:
        """Refuse data, and rows, that do not fit the task."""
        super().setup(stage)
        check_sessions(self.needs(), self.trainer, stage)

    def needs(self) -> Needs:
        """What the data and the rows must fit."""
        return Needs(
            task=type(self).__name__,
            objective=self.objective,
            num_items=self.num_items,
            loss=self.loss,
            updates_in_backward=self.table_settings.updates_rows,
            times=times_needed(self.model),
            max_length=self.max_length,
        )

    def item_vectors(self, ids: Tensor) -> Tensor:
        """Vectors [N, D] of items [N]."""
        vectors: Tensor = self.items(self.collection, ids)
        return vectors

    def encode(self, examples: Examples, vectors: Tensor) -> Tensor:
        """Hidden states [P, D] at the positions of examples, from the vectors [N, D] of their items other than 0."""
        groups = LengthGroups(examples.lengths, examples.items.shape[1])
        read = groups.places(examples.items.reshape(-1).nonzero().squeeze(1))
        padded = vectors.new_zeros(groups.num_places, self.embedding_dim).index_copy(0, read, vectors)
        times = repeat(None, groups.num_groups) if examples.times is None else groups.take(examples.times)
        inputs = [groups.split(padded), groups.take(examples.lengths), times]
        if examples.masked is not None:
            inputs.append(groups.take(examples.masked))
        hidden = [self.model(*part).flatten(0, 1) for part in zip(*inputs, strict=True)]
        return torch.cat(hidden).index_select(0, groups.places(examples.positions))

    def forward(self, batch: SessionBatch) -> Tensor:
        """Queries [B, D] for what comes next; their dot products with item vectors, as scored, are the scores."""
        examples = self.objective.evaluation(batch, self.max_length)
        hidden = self.encode(examples, self.item_vectors(examples.items[examples.items != 0]))
        return self.scoring.queries(hidden).float()

    def training_step(self, batch: SessionBatch, batch_idx: int) -> Tensor:
        """Mean loss over all targets of the batch, plus what the tables' methods add."""
        examples = self.objective.training(batch, self.max_length)
        num_targets = self.samples_per_process(len(examples.targets))
        states: list[Tensor] = []

        def encode(vectors: Tensor) -> Tensor:
            states.append(self.encode(examples, vectors))
            return states[0]

        loss = self.loss_of(examples.items, examples.targets, encode, num_targets)
        self.log_loss(loss, len(batch))
        if self.heads is not None:
            loss = loss + self.heads(states[0], examples.targets, num_targets)
        return self.with_penalty(loss)

    def loss_of(
        self, events: Tensor, targets: Tensor, encode: Callable[[Tensor], Tensor], num_targets: float | Tensor
    ) -> Tensor:
        """Mean loss over targets [P], of states that `encode` makes of the vectors of events, 0 where there is none."""
        step = Step(
            inputs=events[events != 0],
            targets=targets,
            vectors=self.item_vectors,
            encode=encode,
            scoring=self.scoring,
            catalogue=self._catalogue,
            updates_in_backward=self.table_settings.updates_rows,
            num_targets=num_targets,
        )
        return self.loss(step)

    @property
    def _catalogue(self) -> Catalogue:
        return Catalogue(self.num_items, self.get_buffer("item_counts"))

    def scores(self, batch: SessionBatch) -> Tensor:
        """Scores [B, V] of all items, column c for item c + 1; items that a session has seen get -inf."""
        scores = self(batch) @ self._scored_items().t()
        if batch.seen is not None:
            exclude(scores, batch.seen)
        return scores

    def _scored_items(self) -> Tensor:
        """What scoring makes of all items' vectors [V, D]; kept during an evaluation, while no row can change."""
        if self._item_matrix is not None:
            return self._item_matrix
        vectors = item_matrix(self.items, self.collection, self.num_items, self._eval_chunk_items, self.device)
        scored = self.scoring.items(vectors).float()
        self._item_matrix = scored if self._is_evaluating else None
        return scored

    def _evaluate(self, is_evaluating: bool) -> None:
        self._is_evaluating, self._item_matrix = is_evaluating, None

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
        assert batch.targets is not None
        self._metrics.update(self.scores(batch), batch.targets, batch.history)

    def predict_step(self, batch: SessionBatch, batch_idx: int) -> dict[str, Tensor]:
        """The items scored best, best first: ids, 0 where none is left, and scores [B, num_predictions].

        Beside them, where the data have them, the user, the target and the target's rank among all items [B], ties
        counted against it.

        Raises:
            ValueError: if a score is NaN.
        """
        scores = self.scores(batch)
        refuse_nan(scores)
        best = scores.topk(self._num_predictions, dim=1)
        items = (best.indices + 1).masked_fill(best.values == -torch.inf, 0)
        named = {} if batch.users is None else {"user": batch.users}
        if batch.targets is not None:
            named |= {"target": batch.targets, "rank": ranks_of_targets(scores, batch.targets - 1)}
        return {**named, "items": items, "scores": best.values.float()}

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
