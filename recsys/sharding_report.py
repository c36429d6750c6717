"""The sharding plan as a user sees it: which matrix is where, its bytes, and what a step sends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch.distributed as dist
from rich.console import Console
from rich.table import Table as RichTable

from recsys.human import human_bytes
from recsys.tables import TableCollection, TorchrecLookup
from recsys.tables.communication import bytes_sent
from recsys.tables.sharding_plan import bytes_on

FILE = "sharding_plan.json"
_SHOWN_RANKS = 8


@dataclass(frozen=True)
class PlannedMatrix:
    """One line of the plan.

    Args:
        table: name of the matrix.
        num_rows: R.
        row_dim: width.
        sharding_type: torchrec's word.
        place: the same in words, with the processes.
        compute_kernel: torchrec's word.
        rank_bytes: bytes of rows and optimiser state on each process.
        sent_bytes_per_sample: bytes that a process sends for each of its samples, forward and backward.
        sent_bytes_per_step: what it sends in a step whatever the batch, for replicated rows.
    """

    table: str
    num_rows: int
    row_dim: int
    sharding_type: str
    place: str
    compute_kernel: str
    rank_bytes: list[int]
    sent_bytes_per_sample: float
    sent_bytes_per_step: float


def plan_of(collection: TableCollection) -> list[PlannedMatrix]:
    """Where every matrix is; empty if the collection is not sharded."""
    lookup = collection.lookup
    if not isinstance(lookup, TorchrecLookup):
        return []
    num_ranks, ranks_per_host = dist.get_world_size(), lookup.sharding.ranks_per_host
    found = []
    for name, table in lookup.tables.items():
        placement, optimizer = lookup.placements[name], lookup.optimizer_of(name)
        num_slots = sum(slots.count(name) for slots in lookup.requests)
        fixed = bytes_sent(table, placement, 0, num_ranks, ranks_per_host)
        found.append(
            PlannedMatrix(
                table=name,
                num_rows=table.num_rows,
                row_dim=table.row_dim,
                sharding_type=placement.sharding_type,
                place=placement.describe(),
                compute_kernel=placement.compute_kernel or "fused",
                rank_bytes=[bytes_on(table, optimizer, placement, rank) for rank in range(num_ranks)],
                sent_bytes_per_sample=bytes_sent(table, placement, num_slots, num_ranks, ranks_per_host) - fixed,
                sent_bytes_per_step=fixed,
            )
        )
    return found


def show(plan: Sequence[PlannedMatrix], batch_size: int | None) -> None:
    """Print the plan; what is sent is said for a step if the batch size is known, else for a sample."""
    num_ranks = len(plan[0].rank_bytes)
    shown = min(num_ranks, _SHOWN_RANKS)
    view = RichTable(title="Sharding plan", title_justify="left")
    for heading in ("matrix", "rows x width", "place"):
        view.add_column(heading)
    for rank in range(shown):
        view.add_column(f"rank {rank}", justify="right")
    view.add_column("sent a step" if batch_size else "sent a sample", justify="right")
    for line in plan:
        size = f"{line.num_rows:,} x {line.row_dim}"
        held = [human_bytes(line.rank_bytes[rank]) for rank in range(shown)]
        view.add_row(line.table, size, line.place, *held, human_bytes(_sent(line, batch_size)))
    held = [human_bytes(sum(line.rank_bytes[rank] for line in plan)) for rank in range(shown)]
    view.add_section()
    view.add_row("all", "", "", *held, human_bytes(sum(_sent(line, batch_size) for line in plan)))
    Console().print(view)
    print("rank N: bytes of rows and optimiser state there; sent: bytes that leave a process, estimated.")


def _sent(line: PlannedMatrix, batch_size: int | None) -> int:
    if batch_size is None:
        return round(line.sent_bytes_per_sample)
    return round(batch_size * line.sent_bytes_per_sample + line.sent_bytes_per_step)


def keep(plan: Sequence[PlannedMatrix], folder: Path) -> None:
    """Write the plan to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps([asdict(line) for line in plan], indent=1) + "\n", encoding="utf-8")
