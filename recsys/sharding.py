"""`trainer.strategy: torchrec`: rows sharded over the processes, the rest data-parallel.

Lightning's own launcher, torchrun and SLURM start the processes, as for DistributedDataParallel.
"""

from __future__ import annotations

import atexit
import json
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from rich.console import Console
from rich.table import Table as RichTable

from recsys.human import human_bytes
from recsys.tables import TableCollection
from recsys.tables.torchrec_lookup import TorchrecLookup, TorchrecStore

NAME = "torchrec"


class TorchrecStrategy(DDPStrategy):
    """Shards the rows of a task's tables over all processes; dense parameters are replicated, their gradients averaged.

    gloo between CPU processes, nccl between GPUs. Tables larger than a process' fair share are split by rows, the
    others are whole on one process; rows with dense gradients are replicated.

    Args:
        process_group_backend: "gloo" or "nccl"; by default what fits the accelerator.
        timeout_seconds: how long a process waits for the others.

    Raises:
        ValueError: if torchrec is not installed.
    """

    strategy_name = NAME

    def __init__(self, process_group_backend: str | None = None, timeout_seconds: int = 1800) -> None:
        from datetime import timedelta
        from importlib.util import find_spec

        if find_spec("torchrec") is None:
            raise ValueError("trainer.strategy: torchrec needs torchrec and fbgemm; `recsys doctor` has the command.")
        # Tables' integers are the same everywhere; broadcasting them in every step would be waste.
        super().__init__(
            process_group_backend=process_group_backend,
            timeout=timedelta(seconds=timeout_seconds),
            broadcast_buffers=False,
            find_unused_parameters=False,
        )

    def setup_environment(self) -> None:
        """Join the group, and leave it together with the others when the process ends."""
        super().setup_environment()
        # Registered last, so it runs before Lightning's own: a process that leaves alone can abort with SIGABRT.
        atexit.unregister(_leave_together)
        atexit.register(_leave_together)

    def on_exception(self, exception: BaseException) -> None:
        """Do not wait for the others in a process that failed."""
        atexit.unregister(_leave_together)
        super().on_exception(exception)

    def setup(self, trainer: Trainer) -> None:
        """Refuse what in-backward updates cannot do, then wrap the dense part.

        Raises:
            ValueError: on gradient accumulation.
        """
        if trainer.accumulate_grad_batches != 1:
            raise ValueError(
                "trainer.strategy: torchrec updates rows in every backward pass, so accumulate_grad_batches must be 1, "
                f"got {trainer.accumulate_grad_batches}; raise the batch size instead."
            )
        super().setup(trainer)
        module = self.lightning_module
        if module is not None and self.is_global_zero:
            show_plan(module, Path(trainer.default_root_dir))

    @classmethod
    def register_strategies(cls, strategy_registry: Any) -> None:
        """Make it known as trainer.strategy: torchrec."""
        strategy_registry.register(NAME, cls, description="rows sharded by torchrec, the rest data-parallel")


def _leave_together() -> None:
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def sharded_lookup(trainer: Trainer | None) -> type[TorchrecLookup] | None:
    """The lookup that a trainer's strategy asks for; None if it does not shard."""
    return TorchrecLookup if trainer is not None and isinstance(trainer.strategy, TorchrecStrategy) else None


def plan_of(collection: TableCollection) -> list[dict[str, Any]]:
    """Where every sharded matrix is: name, rows, width, "rows" or the rank that holds it, bytes on every process."""
    found = []
    for store in dict.fromkeys(collection.lookup.stores):
        if not isinstance(store, TorchrecStore):
            continue
        for table in store.tables:
            placement = store.placements[table.name]
            place = "split by rows" if placement.rank is None else f"whole on rank {placement.rank}"
            row = {"table": table.name, "num_rows": table.num_rows, "row_dim": table.row_dim, "place": place}
            found.append({**row, "rank_bytes": list(placement.rank_bytes)})
    return found


def show_plan(module: LightningModule, folder: Path) -> None:
    """Print the plan, and keep it as sharding_plan.json."""
    collection = getattr(module, "collection", None)
    if not isinstance(collection, TableCollection):
        return
    plan = plan_of(collection)
    if not plan:
        return
    view = RichTable(title="Sharding plan", title_justify="left")
    for heading in ("matrix", "rows x width", "place"):
        view.add_column(heading)
    num_ranks = len(plan[0]["rank_bytes"])
    for rank in range(num_ranks):
        view.add_column(f"rank {rank}", justify="right")
    for row in plan:
        size = f"{row['num_rows']:,} x {row['row_dim']}"
        view.add_row(row["table"], size, row["place"], *(human_bytes(n) for n in row["rank_bytes"]))
    totals = [sum(row["rank_bytes"][rank] for row in plan) for rank in range(num_ranks)]
    view.add_section()
    view.add_row("all", "", "", *(human_bytes(total) for total in totals))
    Console().print(view)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sharding_plan.json").write_text(json.dumps(plan, indent=1) + "\n")


if NAME not in StrategyRegistry:
    TorchrecStrategy.register_strategies(StrategyRegistry)
