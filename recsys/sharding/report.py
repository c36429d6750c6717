"""The sharding plan as a user sees it: which matrix is where, its bytes, and what it sends.

How many ids a sample has is not known when the plan is made: sessions and multi-valued features have any number. So
bytes are shown for an id, and added up only for samples with one id of every feature.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch.distributed as dist
from rich.table import Table as RichTable

from recsys.checkpoints.place import PLAN
from recsys.human import console, human_bytes
from recsys.tables import TableCollection, TorchrecLookup
from recsys.tables.sharded.communication import Network, traffic
from recsys.tables.sharded.placements import DATA_PARALLEL
from recsys.tables.sharded.plan import bytes_on

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
        compute_kernel: torchrec's word; None for replicated rows.
        rank_bytes: bytes of rows and optimiser state on each process.
        sent_bytes_per_id: bytes that a process sends for each id that it looks up in the matrix, forward and backward.
        sent_bytes_per_sample: the same for each of its samples, if that has one id of every feature.
        sent_bytes_per_step: what it sends in a step whatever the batch, for replicated rows.
    """

    table: str
    num_rows: int
    row_dim: int
    sharding_type: str
    place: str
    compute_kernel: str | None
    rank_bytes: list[int]
    sent_bytes_per_id: float
    sent_bytes_per_sample: float
    sent_bytes_per_step: float


def plan_of(collection: TableCollection) -> list[PlannedMatrix]:
    """Where every matrix is; empty if the collection is not sharded."""
    lookup = collection.lookup
    if not isinstance(lookup, TorchrecLookup):
        return []
    num_ranks = dist.get_world_size()
    network = Network(num_ranks, lookup.sharding.ranks_per_host)

    def sent(name: str, num_ids: int) -> float:
        table, optimizer = lookup.tables[name], lookup.optimizer_of(name)
        return traffic(table, optimizer, lookup.placements[name], num_ids, network).total

    found = []
    for name, table in lookup.tables.items():
        placement, optimizer = lookup.placements[name], lookup.optimizer_of(name)
        replicated = placement.sharding_type == DATA_PARALLEL
        num_slots = lookup.reads[name]
        found.append(
            PlannedMatrix(
                table=name,
                num_rows=table.num_rows,
                row_dim=table.row_dim,
                sharding_type=placement.sharding_type,
                place=placement.describe(),
                compute_kernel=None if replicated else placement.compute_kernel or "fused",
                rank_bytes=[bytes_on(table, optimizer, placement, rank) for rank in range(num_ranks)],
                sent_bytes_per_id=sent(name, 1) - sent(name, 0),
                sent_bytes_per_sample=sent(name, num_slots) - sent(name, 0),
                sent_bytes_per_step=sent(name, 0),
            )
        )
    return found


def show(plan: Sequence[PlannedMatrix], batch_size: int | None) -> None:
    """Print the plan: what an id sends, what replicated rows send besides, and both for samples with one id each."""
    num_ranks = len(plan[0].rank_bytes)
    shown = min(num_ranks, _SHOWN_RANKS)
    view = RichTable(title="Sharding plan", title_justify="left")
    for heading in ("matrix", "rows x width", "place"):
        view.add_column(heading)
    for heading in (*(f"rank {rank}" for rank in range(shown)), "sent an id", "a step besides"):
        view.add_column(heading, justify="right")
    for line in plan:
        size = f"{line.num_rows:,} x {line.row_dim}"
        sizes = [*line.rank_bytes[:shown], round(line.sent_bytes_per_id), round(line.sent_bytes_per_step)]
        view.add_row(line.table, size, line.place, *map(human_bytes, sizes))
    held = [human_bytes(sum(line.rank_bytes[rank] for line in plan)) for rank in range(shown)]
    per_step = round(sum(line.sent_bytes_per_step for line in plan))
    view.add_section()
    view.add_row("all", "", "", *held, "", human_bytes(per_step))
    console().print(view)
    samples = batch_size or 1
    sent = human_bytes(round(samples * sum(line.sent_bytes_per_sample for line in plan) + per_step))
    print(
        "rank N: bytes of rows and optimiser state there; sent: bytes that leave a process, estimated. A step of "
        f"{samples:,} samples with one id of every feature sends {sent}; more ids send more."
    )


def keep(plan: Sequence[PlannedMatrix], folder: Path) -> None:
    """Write the plan to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PLAN).write_text(json.dumps([asdict(line) for line in plan], indent=1) + "\n", encoding="utf-8")
