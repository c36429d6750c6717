"""What every task shares: tables built from a schema, one collection, optimisers and their schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule

from recsys.checkpoints.random_states import RANDOM_STATES, random_states, set_random_state
from recsys.checkpoints.reading import KEY
from recsys.checkpoints.table_description import describe_collection
from recsys.checkpoints.table_differences import check_tables
from recsys.sharding.strategy import sharded_lookup
from recsys.tables import TableCollection
from recsys.tasks.early_stopping import look_after_validations
from recsys.tasks.finite import LossWatch
from recsys.tasks.fused import fuse
from recsys.tasks.schedule import Schedule
from recsys.tasks.tables import TableSettings

OptimizerFactory = Callable[[Iterable[Any]], torch.optim.Optimizer]
"""Called with parameter groups."""


class TableTask(LightningModule):
    """A task whose tables live in one collection; rows and dense parameters share a schedule.

    A subclass builds its dense modules in its constructor; the collection appears in `configure_model`.

    Args:
        settings: of the tables.
        optimizer: of all dense parameters.
        warmup_steps: steps of linear warm-up.
        final_learning_rate_fraction: rates fall linearly to this fraction over the run; 1 keeps them.

    Raises:
        ValueError: if a setting is out of range.
    """

    shardable: ClassVar[bool] = False
    """Whether the loss is exact over several processes: divided by `samples_per_process`."""

    def __init__(
        self,
        settings: TableSettings,
        optimizer: OptimizerFactory,
        warmup_steps: int,
        final_learning_rate_fraction: float,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if warmup_steps < 0:
            raise ValueError(f"{name}: warmup_steps must be at least 0, got {warmup_steps}.")
        if not 0 <= final_learning_rate_fraction <= 1:
            raise ValueError(
                f"{name}: final_learning_rate_fraction must be in [0, 1], got {final_learning_rate_fraction}."
            )
        self.table_settings = settings
        self._optimizer = optimizer
        self._warmup_steps = warmup_steps
        self._final_fraction = final_learning_rate_fraction
        self._schedule = Schedule(warmup_steps)
        self._random_states: dict[str, torch.Tensor] | None = None
        self.finite = LossWatch()
        self.embedding_dim = settings.embedding_dim
        self.collection: TableCollection

    def configure_model(self) -> None:
        """Allocate the rows on the trainer's device, once."""
        if "collection" in self._modules:
            return
        device = self._trainer.strategy.root_device if self._trainer is not None else torch.device("cpu")
        self.collection = self.table_settings.build(device, sharded_lookup(self._trainer))
        scaler = getattr(getattr(self._trainer, "precision_plugin", None), "scaler", None)
        self.collection.lookup.gradients.may_be_scaled = self._trainer is None or scaler is not None
        # What cannot be described could not be saved: better now than at the first checkpoint.
        describe_collection(self.collection)

    def configure_callbacks(self) -> list[Callback]:
        """None of its own; EarlyStopping is told when to look."""
        look_after_validations(self.trainer)
        return []

    def setup(self, stage: str) -> None:
        """Refuse several processes that do not share their rows, and clipping that rows would not obey."""
        if getattr(self.trainer, "gradient_clip_algorithm", None) == "value" and self.table_settings.updates_rows:
            raise ValueError(
                "trainer.gradient_clip_algorithm: value does not reach table rows; use norm, or table_optimizer: "
                "DenseGradient."
            )
        if self.trainer.world_size == 1:
            return
        name = type(self).__name__
        if not self.shardable:
            raise ValueError(f"{name} trains in one process, got {self.trainer.world_size}; set trainer.devices: 1.")
        if sharded_lookup(self.trainer) is None:
            raise ValueError(
                f"{name} trains its tables in one process, got {self.trainer.world_size}; "
                "set trainer.devices: 1, or trainer.strategy: torchrec to shard them."
            )

    def samples_per_process(self, num_samples: int) -> float | torch.Tensor:
        """What a sum over the samples of a batch is divided by, so that its mean over processes is that of all samples.

        A process with fewer samples than the others, or none, then weighs as much as its samples do. The count of
        several processes stays on the device: nobody waits for it.
        """
        if self._trainer is None or self._trainer.world_size == 1:
            return max(1, num_samples)
        count = torch.full((), float(num_samples), device=self.device)
        dist.all_reduce(count)
        return count.clamp(min=1.0) / self._trainer.world_size

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Describe the tables in plain values, and keep where each process' random numbers stand.

        With the description the rows can be read without this run's configuration.
        """
        checkpoint[KEY] = describe_collection(self.collection)
        checkpoint[RANDOM_STATES] = random_states(self.device)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name every table that differs from those the checkpoint was written with, and note the random numbers.

        Raises:
            ValueError: if one differs.
        """
        if "collection" in self._modules:
            check_tables(checkpoint, self.collection)
        self._random_states = checkpoint.get(RANDOM_STATES)

    def on_train_start(self) -> None:
        """Fix the length of the decay; a resumed run draws the numbers that it would have drawn."""
        set_random_state(self._random_states, self.device)
        self._random_states = None
        total_steps = int(self.trainer.estimated_stepping_batches) if self._final_fraction < 1 else 0
        self._schedule = Schedule(self._warmup_steps, self._final_fraction, total_steps)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the rates of rows and dense parameters for this step."""
        if self._schedule.is_constant:
            return
        factor = self._schedule(self.trainer.global_step)
        (optimizer,) = self.trainer.optimizers
        for group in optimizer.param_groups:
            group["lr"] = factor * group["initial_lr"]

    def on_train_epoch_end(self) -> None:
        """Let the tables tidy up."""
        self.collection.end_epoch()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The dense optimizer, over everything outside the collection and whatever of it takes dense gradients."""
        dense = [
            parameter
            for name, module in self.named_children()
            if name != "collection"
            for parameter in module.parameters()
            if parameter.requires_grad
        ]
        optimizer = fuse(self._optimizer([{"params": dense}, *self.collection.param_groups()]))
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        return optimizer

    def log_loss(self, loss: torch.Tensor, num_samples: int) -> None:
        """Log the loss of a step over the samples of all processes: the mean of what `samples_per_process` made."""
        several = self._trainer is not None and self._trainer.world_size > 1
        self.log("train/loss", loss, prog_bar=True, batch_size=num_samples, sync_dist=several)

    def with_penalty(self, loss: torch.Tensor) -> torch.Tensor:
        """The loss plus what the tables' methods add."""
        penalty = self.collection.regularizer()
        return loss if penalty is None else loss + penalty
