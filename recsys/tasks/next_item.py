"""Next-item training: one item table for inputs and outputs, a session model and a loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.data import SessionBatch
from recsys.losses import FullCrossEntropy, Loss, Scoring, query_side
from recsys.models import SumFusion
from recsys.models.session import read_packed
from recsys.tables import DenseGradient, FullTable, Lookup, TableOptimizer
from recsys.tables.budget import Bytes, Fraction
from recsys.tasks.assignment import Assignment, TableFactory
from recsys.tasks.dense_model import session_model
from recsys.tasks.dense_optimizer import DenseOptimizer, OptimizerFactory
from recsys.tasks.item_features import (
    ITEM,
    FusionFactory,
    ItemCatalogue,
    feature_heads,
    item_columns,
    item_side,
    with_ids,
)
from recsys.tasks.objectives import Examples, NextItem, Objective
from recsys.tasks.rows import RowSettings, TableOptions
from recsys.tasks.session import SessionTask
from recsys.tasks.session_checks import Needs, times_needed
from recsys.tasks.tables import TableSettings
from recsys.tasks.total_budget import TotalBudget

SessionModelFactory = Callable[[int, int], nn.Module]
"""Called with (embedding_dim, max_length)."""


class NextItemTask(SessionTask):
    """Trains a model of sessions on an item table of any method, and ranks the whole catalogue.

    Items are scored with the vectors that they are read with. In training, inputs and outputs come from one lookup,
    so that a row is updated once a step. See SessionTask for evaluation, and for several processes.

    Args:
        model: factory of the session model; receives (embedding_dim, max_length). One of your own is tried once, on
            zeros.
        schema: of the data; the command line takes it from the data module.
        embedding_dim: width D of every embedding.
        max_length: events of a session that the model reads, the latest.
        loss: of next-item prediction; by default FullCrossEntropy.
        scoring: how states and item vectors become scores; by default DotProduct.
        objective: what is predicted from what; by default NextItem.
        item_features: what describes an item: "item", its own id, and columns of the data's items. Without "item" no
            row belongs to one item, and items never seen in training are read and recommended like all others. Dense
            columns are standardised over the items, projected to D by one trained layer, and added.
        fusion: factory of what makes the features' vectors one; receives (num_features, embedding_dim), features with
            ids alone. By default SumFusion.
        predict: categorical columns of the data's items that are predicted beside the next item, and the weights of
            their losses.
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

    @typed
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
        columns = item_columns(schema, [ITEM] if item_features is None else item_features)
        assignment = Assignment(with_ids(columns), tables or {"default": FullTable}, assign or {}, exact_up_to)
        rows = RowSettings(table_optimizer or DenseGradient(), table_options or {}, lookup, clip_rows)
        settings = TableSettings(embedding_dim, assignment, rows, TotalBudget(budget_bytes, budget_fraction))
        items = item_side(schema, columns, fusion, embedding_dim)
        dense = DenseOptimizer(optimizer, warmup_steps, final_learning_rate_fraction)
        super().__init__(schema, settings, items, scoring, dense, eval_chunk_items, num_predictions)
        self.reads = (*(column.name for column in columns), *(predict or {}))
        self.max_length = max_length
        self.model = session_model("NextItemTask", model, embedding_dim, max_length)
        self.heads = feature_heads(schema, predict or {}, embedding_dim)
        self.loss = loss or FullCrossEntropy()
        self.objective = objective or NextItem()
        self.objective.check(type(self.model).__name__, bool(self.model.causal))

    def needs(self) -> Needs:
        """What the data and the rows must fit."""
        return Needs(
            task=type(self).__name__,
            num_items=self.num_items,
            reads_item_rows=any(column.name == ITEM for column in self.table_settings.columns),
            times=times_needed(self.model),
            max_length=self.max_length,
            num_only_targets=self.objective.num_only_targets,
            trims_evaluation=self.objective.trims_evaluation,
        )

    def encode(self, examples: Examples, vectors: Tensor) -> Tensor:
        """Hidden states [P, D] at the places of examples that are scored, from the vectors [M, D] of their inputs."""
        packing = examples.packing
        if examples.read is not None or len(vectors) < packing.num_places:
            # Places without an item to look up are masked, or of sessions without events.
            read = torch.arange(len(vectors), device=vectors.device) if examples.read is None else examples.read
            vectors = vectors.new_zeros(packing.num_places, self.embedding_dim).index_copy_(0, read, vectors)
        hidden = read_packed(self.model, vectors, packing, examples.times, examples.masked)
        return hidden[: packing.num_events] if examples.scored is None else hidden.index_select(0, examples.scored)

    def forward(self, batch: SessionBatch) -> Tensor:
        """Queries [B, D] for what comes next; their dot products with item vectors, as scored, are the scores."""
        examples = self.objective.evaluation(batch, self.max_length)
        return query_side(self.scoring, self.encode(examples, self.item_vectors(examples.inputs)))

    def summed_loss(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """The sum of the losses of all targets, and the hidden states [P, D] that they are predicted from."""
        reading = self.loss.read(self.reader, examples.inputs, examples.targets)
        hidden = self.encode(examples, reading.inputs)
        return self.loss(hidden, reading, self.scoring), hidden

    def training_step(self, batch: SessionBatch, batch_idx: int) -> Tensor:
        """Mean loss over all targets of the batch, plus what the tables' methods add."""
        examples = self.objective.training(batch, self.max_length)
        num_targets = self.samples_per_process(len(examples.targets))
        total, hidden = self.summed_loss(examples)
        loss = total / num_targets
        self.log_loss(loss, len(batch))
        if self.heads is not None:
            loss = loss + self.heads(hidden, examples.targets, num_targets)
        return self.finite(self.with_penalty(loss, num_targets))
