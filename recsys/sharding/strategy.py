"""`trainer.strategy: torchrec`: rows sharded over the processes, the rest data-parallel.

Lightning's own launcher, torchrun and SLURM start the processes, as for DistributedDataParallel.
"""

from __future__ import annotations

import atexit
import os
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, replace
from datetime import timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.trainer.states import TrainerFn

from recsys.checkpoints import folder as checkpoint_folder
from recsys.checkpoints.io import FolderCheckpointIO, check_exists
from recsys.data.batch import Batch
from recsys.hardware import memory_per_process
from recsys.sharding.lost_processes import WatchingLauncher
from recsys.sharding.pipeline import InputPipeline, Lookahead, why_plain
from recsys.sharding.refusals import refuse_batch_norm, refuse_remote_folders
from recsys.sharding.report import PlannedMatrix, keep, plan_of, show
from recsys.tables import Sharding, TableCollection, TableSharding, TorchrecLookup
from recsys.tables.lookups.base import LookupFactory
from recsys.tables.sharded.first_process import has_group

NAME = "torchrec"

_BESIDE_THE_POINT = (
    # What torchrec calls, and what checkpoints of it are made of.
    r"`torch\.distributed\..*` is deprecated",
    r"Please use DTensor instead",
    # Metrics are reduced over all samples before they are logged.
    r"It is recommended to use `self\.log\(.*sync_dist",
)


class TorchrecStrategy(DDPStrategy):
    """Shards the rows of a task's tables over all processes; dense parameters are replicated, their gradients averaged.

    gloo between CPU processes, nccl between GPUs. Checkpoints are folders that all processes write together.

    Where `constraints` say nothing, matrices of few rows are replicated, those larger than a process' fair share are
    split by rows, and the others are whole on one process. Rows with dense gradients are replicated.

    Args:
        constraints: sharding type and compute kernel of matrices, by name or pattern; dicts stand for TableSharding.
        planner: let torchrec's planner choose where `constraints` say nothing.
        replicate_rows: matrices with at most this many rows are replicated.
        memory_bytes: what rows and their optimiser state may take in each process; by default nine tenths of what
            the process' GPU, or its part of the host, has.
        pipeline: send the ids of the next batch to their rows while a batch is computed; by default on GPUs. The
            numbers are the same. It needs a task that knows a batch's ids before its step, as CTRTask does, batches of
            the class Batch, and no hooks of the user's own around their transfer; a warning says what is missing.
        process_group_backend: "gloo" or "nccl"; by default what fits the accelerator.
        timeout_seconds: how long a process waits for the others.

    Raises:
        ValueError: if torchrec is not installed, a number is out of range, or a word unknown.
    """

    strategy_name = NAME

    def __init__(
        self,
        constraints: dict[str, TableSharding] | None = None,
        planner: bool = False,
        replicate_rows: int = 1024,
        memory_bytes: int | None = None,
        pipeline: bool | None = None,
        process_group_backend: str | None = None,
        timeout_seconds: int = 1800,
    ) -> None:
        if find_spec("torchrec") is None:
            raise ValueError("trainer.strategy: torchrec needs torchrec and fbgemm; `recsys doctor` has the command.")
        if timeout_seconds < 1:
            raise ValueError(f"TorchrecStrategy: timeout_seconds must be at least 1, got {timeout_seconds}.")
        if process_group_backend not in (None, "gloo", "nccl"):
            raise ValueError(
                f"TorchrecStrategy: process_group_backend must be gloo or nccl, got '{process_group_backend}'; leave "
                "it out to have what fits the accelerator."
            )
        # Tables' integers are the same everywhere; broadcasting them in every step would be waste.
        super().__init__(
            process_group_backend=process_group_backend,
            timeout=timedelta(seconds=timeout_seconds),
            broadcast_buffers=False,
            find_unused_parameters=False,
        )
        self._plan: list[PlannedMatrix] = []
        self._wants_pipeline = pipeline
        self._pipeline: InputPipeline | None = None
        asked = {name: _table_sharding(name, each) for name, each in (constraints or {}).items()}
        self._sharding = Sharding(asked, planner, replicate_rows, memory_bytes)
        # torchrec asks the environment which processes share a host; only torchrun says so by itself.
        self._local_world_size = os.environ.get("LOCAL_WORLD_SIZE")

    def sharding(self) -> Sharding:
        """What is asked for, with what is known of this machine filled in."""
        memory = self._sharding.memory_bytes or memory_per_process(self.root_device, self.num_processes)
        return replace(self._sharding, memory_bytes=memory, ranks_per_host=self.num_processes)

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if isinstance(self._launcher, _SubprocessScriptLauncher):
            assert self.cluster_environment is not None
            self._launcher = WatchingLauncher(self.cluster_environment, self.num_processes, self.num_nodes)

    def setup_environment(self) -> None:
        """Join the group, and leave it together with the others when the process ends."""
        super().setup_environment()
        for message in _BESIDE_THE_POINT:
            warnings.filterwarnings("ignore", message)
        os.environ.setdefault("LOCAL_WORLD_SIZE", str(self.num_processes))
        # Registered last, so it runs before Lightning's own: a process that leaves alone can abort with SIGABRT.
        atexit.unregister(_leave_together)
        atexit.register(_leave_together)

    def teardown(self) -> None:
        """Leave the environment as it was."""
        super().teardown()
        if self._local_world_size is None:
            os.environ.pop("LOCAL_WORLD_SIZE", None)

    def on_exception(self, exception: BaseException) -> None:
        """Do not wait for the others in a process that failed."""
        atexit.unregister(_leave_together)
        super().on_exception(exception)

    def setup(self, trainer: Trainer) -> None:
        """Refuse what cannot equal one process, then wrap the dense part.

        Raises:
            ValueError: when training with batch normalisation in several processes, or with checkpoints that would go
                to a remote place.
        """
        if trainer.state.fn == TrainerFn.FITTING:
            refuse_remote_folders(trainer)
            if self.world_size > 1:
                refuse_batch_norm(self.lightning_module)
        self._pipeline = None
        super().setup(trainer)
        self._plan = plan_of(self._collection) if self._collection is not None else []
        if self._plan and self.is_global_zero:
            show(self._plan, getattr(getattr(trainer, "datamodule", None), "batch_size", None))
            keep(self._plan, Path(trainer.default_root_dir))

    def _setup_model(self, model: Any) -> Any:
        """What stands for rows in the optimizer is no parameter to average: rows are exchanged by the lookup."""
        model._ddp_params_and_buffers_to_ignore = [
            name for name, _ in model.named_parameters() if name.startswith("collection.lookup.gradients.")
        ]
        return super()._setup_model(model)

    def process_dataloader(self, dataloader: object) -> object:
        """Read train batches one ahead where steps are pipelined."""
        module = self.lightning_module
        wanted = self.root_device.type == "cuda" if self._wants_pipeline is None else self._wants_pipeline
        if module is None or not (wanted and module.trainer.training):
            return dataloader
        reason = why_plain(module.trainer, module, dataloader)
        if reason is not None:
            if self._wants_pipeline and self.is_global_zero:
                warnings.warn(f"pipeline: true, but the steps are plain ones: {reason}.", stacklevel=2)
            return dataloader
        start: Any = module.start_lookup
        self._pipeline = InputPipeline(self.root_device, super().batch_to_device, start)
        return Lookahead(dataloader)

    def batch_to_device(self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0) -> Any:
        """Move a batch, unless the pipeline has done so."""
        loader = self._lookahead
        moved = None if loader is None or self._pipeline is None else self._pipeline.take(loader.position)
        return super().batch_to_device(batch, device, dataloader_idx) if moved is None else moved

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """A step, with the next batch begun beside it where steps are pipelined."""
        loader, pipeline = self._lookahead, self._pipeline
        if loader is None or pipeline is None or self._is_last_step or not isinstance(loader.following, Batch):
            return super().training_step(*args, **kwargs)
        pipeline.begin(self.precision_plugin.convert_input(loader.following), loader.position + 1)
        output = super().training_step(*args, **kwargs)
        pipeline.advance()
        return output

    @property
    def _lookahead(self) -> Lookahead | None:
        """The train loader, if it is read ahead and this is training."""
        if self.lightning_module is None or not self.lightning_module.trainer.training:
            return None
        loader = self.lightning_module.trainer.train_dataloader
        return loader if isinstance(loader, Lookahead) else None

    @property
    def _is_last_step(self) -> bool:
        """Whether no step of this epoch and run comes after this one: limits are the same on all processes."""
        assert self.lightning_module is not None
        trainer = self.lightning_module.trainer
        return trainer.is_last_batch or 0 <= trainer.max_steps <= trainer.global_step + 1

    @property
    def _collection(self) -> TableCollection | None:
        return getattr(self.lightning_module, "collection", None)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Write a checkpoint folder, each process its part, and the plan in it."""
        checkpoint_folder.write(filepath, checkpoint)
        if self._plan and self.is_global_zero:
            keep(self._plan, Path(filepath))

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """A checkpoint; of a folder, each process reads its part. A file is one of a run in a single process.

        Raises:
            ValueError: if it has other tables than this run, or cannot be read.
        """
        check_exists(checkpoint_path)
        if not Path(checkpoint_path).is_dir():
            return FolderCheckpointIO().load_checkpoint(checkpoint_path)
        assert self.lightning_module is not None
        rest = checkpoint_folder.read_rest(checkpoint_path)
        check = getattr(self.lightning_module, "check_fits", None)
        if check is not None:
            check(rest)
        own = self.lightning_module.state_dict()

        def target_of(keys: tuple[Any, ...]) -> Any:
            value = own.get(keys[1]) if keys[0] == "state_dict" else None
            return value if hasattr(value, "local_shards") else None

        return checkpoint_folder.read(checkpoint_path, target_of)

    @classmethod
    def register_strategies(cls, strategy_registry: Any) -> None:
        """Make it known as trainer.strategy: torchrec."""
        strategy_registry.register(NAME, cls, description="rows sharded by torchrec, the rest data-parallel")


def _table_sharding(name: str, asked: Any) -> TableSharding:
    """What is asked for some matrices, which from Python may be a dict.

    Raises:
        ValueError: if it is neither, or the dict has an unknown key.
    """
    if isinstance(asked, TableSharding):
        return asked
    known = [each.name for each in fields(TableSharding)]
    if not isinstance(asked, Mapping) or not set(asked) <= set(known):
        raise ValueError(
            f"TorchrecStrategy: constraints['{name}'] must be a TableSharding, or a dict with the keys "
            f"{' and '.join(known)} or one of them, got {asked!r}."
        )
    return TableSharding(**asked)


def _leave_together() -> None:
    # An exception that nobody caught leaves its trace here before a process ends.
    if hasattr(sys, "last_type") or not has_group():
        return
    if dist.get_backend() == "gloo":
        # A process that left alone is not waited for.
        with suppress(RuntimeError):
            dist.monitored_barrier(timeout=timedelta(seconds=60))
    else:
        dist.barrier()
    dist.destroy_process_group()


def sharded_lookup(trainer: Trainer | None) -> LookupFactory | None:
    """The lookup that a trainer's strategy asks for; None if it does not shard."""
    if trainer is None or not isinstance(trainer.strategy, TorchrecStrategy):
        return None
    return partial(TorchrecLookup, sharding=trainer.strategy.sharding())


if NAME not in StrategyRegistry:
    TorchrecStrategy.register_strategies(StrategyRegistry)
