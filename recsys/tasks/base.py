"""What every task shares: tables built from a schema, one collection, optimisers and their schedule."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.trainer.states import TrainerFn

from recsys.checkpoints.data_differences import DATA, check_data
from recsys.checkpoints.random_states import RANDOM_STATES, random_states, set_random_state
from recsys.checkpoints.reading import KEY
from recsys.checkpoints.remap import carry_over
from recsys.checkpoints.settings import NUM_PROCESSES, SETTINGS, changed_settings, in_words
from recsys.checkpoints.table_description import describe_collection
from recsys.checkpoints.table_differences import check_state, check_tables, state_differences
from recsys.checkpoints.weights_alone import begin_anew
from recsys.sharding.strategy import sharded_lookup
from recsys.tables import TableCollection
from recsys.tasks.dense_optimizer import DenseOptimizer
from recsys.tasks.early_stopping import check_watched, look_after_validations
from recsys.tasks.exact_targets import keep_targets
from recsys.tasks.finite import LossWatch
from recsys.tasks.resumption import (
    OPTIMIZERS,
    OWED,
    check_optimizer,
    keep_best,
    leave_open,
    optimizer_shape,
    owes_validation,
    validate_now,
)
from recsys.tasks.schedule import Schedule
from recsys.tasks.tables import TableSettings
from recsys.tasks.trainer_checks import check_begin, check_trainer


class TableTask(LightningModule):
    """A task whose tables live in one collection; rows and dense parameters share a schedule.

    A subclass builds its dense modules in its constructor; the collection appears in `configure_model`.

    Args:
        settings: of the tables.
        optimizer: of all dense parameters, and the schedule of all rates.

    Raises:
        ValueError: if a setting is out of range.
    """

    shardable: ClassVar[bool] = False
    """Whether the loss is exact over several processes: divided by `samples_per_process`."""

    schema: Any = None
    """Of the data; with an `identity`, a checkpoint knows what it was trained on."""
    reads: Collection[str] | None = None
    """Features and vectors of the data that the task reads; None if it reads all that there are."""
    made_of_data: ClassVar[tuple[str, ...]] = ()
    """Prefixes of the state that comes from the data, whatever checkpoint is carried over to them."""
    carried_over: tuple[Path, Path] | None = None
    """A checkpoint of other data, and their folder: its rows are carried over by the values of their ids."""
    settings: Mapping[str, Any] | None = None
    """What decides what the run learns, by name, where a config says; its checkpoints keep them."""

    def __init__(self, settings: TableSettings, optimizer: DenseOptimizer) -> None:
        super().__init__()
        optimizer.check(type(self).__name__)
        self.table_settings = settings
        self.dense_optimizer = optimizer
        self._schedule = Schedule(optimizer.warmup_steps)
        self._random_states: dict[str, torch.Tensor] | None = None
        self._owes_validation, self._last_validated_step = False, -1
        self._optimizer_shapes: list[dict[str, Any]] = []
        self._callback_states: Mapping[str, Any] = {}
        self._changed_settings: list[str] = []
        self.finite = LossWatch()
        self.embedding_dim = settings.embedding_dim
        self.collection: TableCollection
        self._is_loaded = False

    def __getattr__(self, name: str) -> Any:
        """Say of tables that are not there yet what makes them."""
        if name == "collection" and name not in self.__dict__.get("_modules", {}):
            raise AttributeError(
                f"{type(self).__name__}: its tables are not made yet; call configure_model(), as a Trainer does, first."
            )
        return super().__getattr__(name)

    def configure_model(self) -> None:
        """Allocate the rows on the trainer's device, once."""
        if "collection" in self._modules:
            return
        device = self._trainer.strategy.root_device if self._trainer is not None else torch.device("cpu")
        self.collection = self.table_settings.build(device, sharded_lookup(self._trainer))
        scaler = getattr(getattr(self._trainer, "precision_plugin", None), "scaler", None)
        self.collection.lookup.gradients.may_be_scaled = (
            self._trainer is None or scaler is not None or bool(self._trainer.gradient_clip_val)
        )
        # What cannot be described could not be saved: better now than at the first checkpoint.
        describe_collection(self.collection)
        if self.carried_over is not None:
            path, folder = self.carried_over
            said = carry_over(path, folder, self, self.collection, self.data_identity, self.made_of_data)
            if self._trainer is None or self._trainer.is_global_zero:
                print(f"weights: {path}, carried over from '{folder}' by value", *said, sep="\n  ")

    def configure_callbacks(self) -> list[Callback]:
        """None of its own; EarlyStopping is told when to look."""
        look_after_validations(self.trainer)
        return []

    def setup(self, stage: str) -> None:
        """Refuse several processes that do not share their rows, and clipping that rows would not obey."""
        name = type(self).__name__
        check_trainer(self.trainer, stage)
        keep_targets(self.trainer)
        if stage == "fit":
            self.dense_optimizer.check_run(name, self.trainer)
            check_watched(self.trainer)
        if getattr(self.trainer, "gradient_clip_algorithm", None) == "value" and self.table_settings.updates_rows:
            raise ValueError(
                "trainer.gradient_clip_algorithm: value does not reach table rows; use norm, or table_optimizer: "
                "DenseGradient."
            )
        if self.trainer.world_size == 1:
            return
        if not self.shardable:
            raise ValueError(f"{name} trains in one process, got {self.trainer.world_size}; set trainer.devices: 1.")
        if sharded_lookup(self.trainer) is None:
            raise ValueError(
                f"{name} trains its tables in one process, got {self.trainer.world_size}; "
                "set trainer.devices: 1, or trainer.strategy: torchrec to shard them."
            )

    def samples_per_process(self, num_samples: int | torch.Tensor) -> float | torch.Tensor:
        """What a sum over the samples of a batch is divided by, so that its mean over processes is that of all samples.

        A process with fewer samples than the others, or none, then weighs as much as its samples do. Samples with
        weights count as the sum of them. The count of several processes stays on the device: nobody waits for it.
        """
        several = self._trainer is not None and self._trainer.world_size > 1
        if isinstance(num_samples, int) and not several:
            return max(1, num_samples)
        count = torch.as_tensor(num_samples, dtype=torch.float32).to(self.device).clone()
        if several:
            dist.all_reduce(count)
            count /= self.trainer.world_size
        # Without samples, or with weights of 0 alone, the sum that is divided is 0.
        return torch.where(count > 0, count, 1.0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Describe the tables and the data in plain values, and keep where each process' random numbers stand.

        With the description the rows can be read without this run's configuration, and not for other data.
        """
        checkpoint[KEY] = {**describe_collection(self.collection), DATA: self.data_identity}
        checkpoint[RANDOM_STATES] = random_states(self.device)
        if self.settings is not None:
            checkpoint[SETTINGS] = self._own_settings()
        checkpoint[OPTIMIZERS] = [optimizer_shape(each) for each in self._trainer.optimizers] if self._trainer else []
        checkpoint[OWED] = self._trainer is not None and owes_validation(self._trainer, self._last_validated_step)
        if self._trainer is not None:
            leave_open(self._trainer, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Name all data and tables that differ from those the checkpoint was written with; note the random numbers.

        Raises:
            ValueError: if one differs.
        """
        self.check_fits(checkpoint)
        trainer = self._trainer
        fitting = trainer is not None and trainer.state.fn == TrainerFn.FITTING
        path = trainer.ckpt_path if trainer is not None and trainer.is_global_zero else None
        if fitting and begin_anew(checkpoint):
            if path:
                print(f"weights: {path}, without optimizer state: a run of its own begins with them")
            return
        if SETTINGS in checkpoint and self.settings is not None:
            self._changed_settings = changed_settings(checkpoint[SETTINGS], self._own_settings())
        if path:
            unknown = "" if KEY in checkpoint else "; it does not say which data it was trained on"
            print(f"weights: {path}, epoch {checkpoint['epoch']}, step {checkpoint['global_step']}{unknown}")
            if self._changed_settings and fitting:
                print(f"settings: going on with others than the run before: {in_words(self._changed_settings)}")
        self._random_states = checkpoint.get(RANDOM_STATES)
        self._owes_validation = bool(checkpoint.get(OWED))
        self._optimizer_shapes = checkpoint.get(OPTIMIZERS, [])
        self._callback_states = checkpoint.get("callbacks", {})

    def _own_settings(self) -> dict[str, Any]:
        """Of the config, and how many processes each take a batch of their own."""
        num_processes = 1 if self._trainer is None else self._trainer.world_size
        return {**(self.settings or {}), NUM_PROCESSES: num_processes}

    @property
    def data_identity(self) -> dict[str, Any] | None:
        """What every id, and all that is read by position, stands for; None where the data do not say."""
        whole: dict[str, Any] | None = getattr(self.schema, "identity", None)
        if whole is None or self.reads is None:
            return whole
        kinds = ("ids", "values", "vectors")
        return whole | {kind: {name: whole[kind][name] for name in whole[kind] if name in self.reads} for kind in kinds}

    def check_fits(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse a checkpoint of other data or other tables.

        Raises:
            ValueError: naming what differs.
        """
        check_data(checkpoint, self.data_identity)
        if "collection" in self._modules:
            check_tables(checkpoint, self.collection)

    def on_fit_start(self) -> None:
        """Refuse a run that is too short for its tables, or whose tables are what nothing has loaded."""
        check_begin(self.trainer, self.collection, self._is_loaded or self.carried_over is not None)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load what a checkpoint holds.

        Raises:
            ValueError: naming what is missing, too much, or of another shape, or if it is no state at all.
        """
        check_state(type(self).__name__, state_dict)
        self._is_loaded = True
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            path = None if self._trainer is None else self._trainer.ckpt_path
            said = " and ".join(state_differences(self.state_dict(), state_dict)) or " ".join(str(error).split())
            name = "the checkpoint" if path is None else f"checkpoint '{path}'"
            changed = (
                f"; its settings were others: {in_words(self._changed_settings)}" if self._changed_settings else ""
            )
            raise ValueError(f"{name} does not fit this config: {said}{changed}.") from error

    def on_train_start(self) -> None:
        """Fix the length of the decay; a resumed run draws the numbers that it would have drawn.

        It keeps the best checkpoint of the run before, and makes up a validation that was due when it was saved.
        """
        set_random_state(self._random_states, self.device)
        self._random_states = None
        self._schedule = self.dense_optimizer.schedule(type(self).__name__, self.trainer)
        keep_best(self.trainer, self._callback_states)
        if self._owes_validation:
            validate_now(self.trainer)
        self._owes_validation, self._callback_states = False, {}

    def on_validation_end(self) -> None:
        """Note after which step it was."""
        if not self.trainer.sanity_checking:
            self._last_validated_step = self.trainer.global_step

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
        """The dense optimizer, over everything outside the collection and whatever of it takes dense gradients.

        Raises:
            ValueError: if the checkpoint that is gone on from has the state of another one.
        """
        modules = [module for name, module in self.named_children() if name != "collection"]
        every = [*self.parameters(recurse=False), *(each for module in modules for each in module.parameters())]
        dense = [parameter for parameter in every if parameter.requires_grad]
        groups: list[dict[str, Any]] = [{"params": dense}, *self.collection.param_groups()]
        optimizer = self.dense_optimizer.make(groups, type(self).__name__)
        check_optimizer(optimizer, self._optimizer_shapes)
        return optimizer

    def log_loss(self, loss: torch.Tensor, num_samples: int) -> None:
        """Log the loss of a step over the samples of all processes: the mean of what `samples_per_process` made."""
        several = self._trainer is not None and self._trainer.world_size > 1
        self.log("train/loss", loss, prog_bar=True, batch_size=num_samples, sync_dist=several)

    def with_penalty(self, loss: torch.Tensor, num_samples: float | torch.Tensor) -> torch.Tensor:
        """The loss, divided by num_samples, plus what the tables' methods add; a batch's part is divided alike."""
        penalty = self.collection.regularizer(num_samples)
        return loss if penalty is None else loss + penalty
