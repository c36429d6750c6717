"""Click-through-rate training: tables, a model, binary cross-entropy and exact metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.data.batch import Batch
from recsys.data.schema import Schema
from recsys.metrics.binary import BinaryMetrics
from recsys.tables import Bag, FullTable, Lookup, RowWiseAdagrad, TableOptimizer
from recsys.tables.budget import Bytes, Fraction
from recsys.tasks.assignment import Assignment, TableFactory
from recsys.tasks.base import TableTask
from recsys.tasks.batch_checks import check_clicks, check_labelled, check_labels
from recsys.tasks.captured import CapturedLoss
from recsys.tasks.dense_model import click_model
from recsys.tasks.dense_optimizer import DenseOptimizer, OptimizerFactory
from recsys.tasks.finite import check_logits, large_columns
from recsys.tasks.rows import RowSettings, TableOptions
from recsys.tasks.tables import TableSettings
from recsys.tasks.total_budget import TotalBudget

ModelFactory = Callable[[int, int, int], nn.Module]
"""Called with (num_features, embedding_dim, num_dense)."""


class CTRTask(TableTask):
    """Trains a model of clicks on tables of any method.

    Table rows are updated in the backward pass by `table_optimizer`, everything else by `optimizer`. Metrics are
    logged as val/auc, val/log_loss, val/normalised_entropy and val/calibration over the whole split, never averaged
    over batches; with groups in the data val/gauc too. Weights of the data act in loss and metrics: 2 is the row twice.

    Args:
        model: factory of the dense part; receives (num_features, embedding_dim, num_dense). One of your own is tried
            once, on zeros.
        schema: columns of the data; the command line takes it from the data module.
        embedding_dim: width D of every embedding.
        tables: factories of tables, by entry; each receives (name, num_embeddings, embedding_dim).
        assign: for each entry, the features that use it, by name or pattern; the others use "default".
        exact_up_to: features with at most this many ids keep a FullTable, unless `assign` names them.
        table_options: optimizer, freezing and initial rows of an entry.
        table_optimizer: of all rows without an optimizer of their own; by default RowWiseAdagrad at rate 0.05.
        optimizer: of all dense parameters.
        embedding_dropout: fraction of embedding values set to zero while training, in [0, 1).
        warmup_steps: steps of linear warm-up, for rows and dense parameters alike.
        final_learning_rate_fraction: rates fall linearly to this fraction over the run; 1 keeps them.
        lookup: where rows live; by default the fastest that is installed: see NumbaLookup, FbgemmLookup, TorchLookup.
        clip_rows: trainer.gradient_clip_val counts the rows' gradients in its norm; otherwise the norm is that of the
            dense parameters, and rows are scaled by the same factor.
        budget_bytes: what all tables may take together, such as 8MB; those with a size to choose get as large as fits.
        budget_fraction: the same as a fraction of the full tables' bytes, such as 1%.
        compile_model: compile the dense part with torch.compile; needs a C++ compiler.
        capture_model: replay the dense part of a training step as a CUDA graph, compiled or not; for one GPU, and for
            every precision but 16-mixed. Batches of another size than the first are computed without it.

    Raises:
        ValueError: if the settings do not fit the schema or each other, or the model is none of clicks.
    """

    shardable = True

    @typed
    def __init__(
        self,
        model: ModelFactory,
        schema: Schema | None = None,
        embedding_dim: int = 16,
        tables: dict[str, TableFactory] | None = None,
        assign: dict[str, list[str]] | None = None,
        exact_up_to: int = 0,
        table_options: dict[str, TableOptions] | None = None,
        table_optimizer: TableOptimizer | None = None,
        optimizer: OptimizerFactory = torch.optim.Adam,
        embedding_dropout: float = 0.0,
        warmup_steps: int = 0,
        final_learning_rate_fraction: float = 1.0,
        lookup: type[Lookup] | None = None,
        clip_rows: bool = False,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        compile_model: bool = False,
        capture_model: bool = False,
    ) -> None:
        if schema is None:
            raise ValueError("CTRTask: schema is missing; pass CTRDataModule(...).schema.")
        if not 0 <= embedding_dropout < 1:
            raise ValueError(f"CTRTask: embedding_dropout must be in [0, 1), got {embedding_dropout}.")
        columns = [column for column in schema.columns if column.kind != "dense"]
        assignment = Assignment(columns, tables or {"default": FullTable}, assign or {}, exact_up_to)
        # No default in the signature: a parser would carry its settings over to another class.
        row_optimizer = table_optimizer or RowWiseAdagrad(learning_rate=0.05)
        rows = RowSettings(row_optimizer, table_options or {}, lookup, clip_rows)
        settings = TableSettings(embedding_dim, assignment, rows, TotalBudget(budget_bytes, budget_fraction))
        super().__init__(settings, DenseOptimizer(optimizer, warmup_steps, final_learning_rate_fraction))
        self.schema = schema
        self._embedding_dropout = embedding_dropout
        self.model = click_model(model, len(columns), embedding_dim, len(schema.dense))
        if compile_model:
            self.model.compile()
        if capture_model and type(self).forward is not CTRTask.forward:
            raise ValueError(
                f"CTRTask: capture_model=True replays the model alone, and not the forward() of {type(self).__name__}; "
                "set it to False, or make that part of the model."
            )
        self._captured = CapturedLoss(self.model, self._summed_loss) if capture_model else None
        self._metrics = BinaryMetrics()
        self._dense_names = list(schema.dense)

    def setup(self, stage: str) -> None:
        """Refuse graphs without a GPU, in several processes, or with a scaler of losses."""
        super().setup(stage)
        if self._captured is None or stage != "fit":
            return
        device = self.trainer.strategy.root_device
        if device.type != "cuda" or self.trainer.world_size > 1:
            raise ValueError(
                f"CTRTask: capture_model=True needs one process with a GPU, got {self.trainer.world_size} on "
                f"{device.type}; set model.capture_model to false."
            )
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            raise ValueError(
                "CTRTask: capture_model=True does not go with a scaler of losses; train with trainer.precision: "
                "bf16-mixed, or set model.capture_model to false."
            )

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B] of a batch."""
        check_clicks("CTRTask", batch)
        return self._logits(self.collection(batch.ids, batch.bags, batch.started), batch.dense)

    def _logits(self, embeddings: Tensor, dense: Tensor) -> Tensor:
        if self._embedding_dropout:
            embeddings = F.dropout(embeddings, self._embedding_dropout, self.training)
        logits: Tensor = self.model(embeddings, dense)
        return logits.float()

    def _summed_loss(self, embeddings: Tensor, dense: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        return _summed(self._logits(embeddings, dense), labels, weights)

    def start_lookup(self, batch: Batch) -> Batch:
        """A coming batch with its lookups begun, for the pipelined step of TorchrecStrategy."""
        return replace(batch, started=self.collection.start(batch.ids, batch.bags))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean binary cross-entropy of the batch, rows weighted, plus what the tables' methods add."""
        check_clicks("CTRTask", batch)
        check_labels("CTRTask", batch.labels, batch.weights, len(batch))
        assert batch.labels is not None
        if self._captured is None:
            total = _summed(self(batch), batch.labels, batch.weights)
        else:
            embeddings = self.collection(batch.ids, batch.bags, batch.started)
            weights = () if batch.weights is None else (batch.weights,)
            total = self._captured(embeddings, batch.dense, batch.labels, *weights)
        num_samples = len(batch) if batch.weights is None else batch.weights.sum()
        count = self.samples_per_process(num_samples)
        loss = total / count
        self.log_loss(loss, len(batch))
        return self.finite(self.with_penalty(loss, count), lambda: large_columns(batch.dense, self._dense_names))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect scores."""
        self._collect(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect scores."""
        self._collect(batch)

    def _collect(self, batch: Batch) -> None:
        check_clicks("CTRTask", batch)
        check_labelled("CTRTask", batch.labels, "evaluate")
        assert batch.labels is not None
        logits = self(batch)
        # On a GPU nobody waits for each batch: what is NaN is found at the end.
        if logits.device.type == "cpu":
            check_logits(logits, batch.dense, self._dense_names)
        self._metrics.update(logits, batch.labels, batch.weights, batch.groups)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor | Bag]:
        """Logits [B] in float32, beside labels, weights and groups where the data have them, and the features' ids.

        Rows of one group have one number; a negative one is that of a row whose group nobody knows.

        Raises:
            ValueError: if a logit is NaN or infinite.
        """
        logits = self(batch)
        check_logits(logits, batch.dense, self._dense_names)
        known = {"label": batch.labels, "weight": batch.weights, "group": batch.groups}
        given = {name: values for name, values in known.items() if values is not None}
        features = {column.name: ids for column, ids in zip(self.schema.categorical, batch.ids, strict=True)}
        features |= batch.bags
        for name in (*given, "logit"):
            if name in features:
                raise ValueError(f"predict: feature '{name}' has the name of a column of predictions; rename it.")
        return {**given, "logit": logits, **features}

    def on_validation_epoch_end(self) -> None:
        """Log the split's metrics."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Log the split's metrics."""
        self._log_metrics("test")

    def _log_metrics(self, split: str) -> None:
        for name, value in self._metrics.compute().items():
            # In float64: a plain number would be logged, and returned by `trainer.test`, in float32.
            self.log(f"{split}/{name}", torch.tensor(value, dtype=torch.float64), prog_bar=name in ("auc", "gauc"))
        self._metrics = BinaryMetrics()


def _summed(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """The sum of the binary cross-entropies of all rows, as often as they weigh."""
    return F.binary_cross_entropy_with_logits(logits, labels, weight=weights, reduction="sum")
