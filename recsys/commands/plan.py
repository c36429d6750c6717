"""`recsys plan`: which ids of which feature get rows of their own within a budget, and what the rest share.

recsys plan data/criteo --budget_fraction 10% --exact_up_to 200 --out plan.yaml
lightning fit -c configs/criteo.yaml -c plan.yaml

recsys plan data/criteo --budget_bytes 40GB --embedding_dim 128 --gpus 8 --memory 80GB --batch_size 65536
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable

from recsys.data.counts import read_counts
from recsys.data.schema import Schema
from recsys.human import console, human_bytes
from recsys.planning import Allocation, Column, allocate
from recsys.planning.placing import Fleet, place
from recsys.prepare.clicks.planned_tables import as_yaml
from recsys.prepare.files.command_parser import CommandParser
from recsys.prepare.files.whole_files import write_whole_text
from recsys.tables.budget import bytes_of_fraction, parse_bytes

_MAX_GPUS = 4096
_MAX_EMBEDDING_DIM = 4096
"""That of a task."""
_OF_DEVICES: dict[str, Any] = {"memory": "80GB", "batch_size": 65_536, "gpus_per_host": 8}
"""What is said of devices, and what holds where it is not."""


def main(arguments: Sequence[str]) -> int:
    """Plan, print and write; returns the exit code.

    Raises:
        ValueError: on a budget that cannot be met, counts that are missing, or rows that do not fit the devices.
    """
    chosen = parser().parse_args(list(arguments))
    _check(chosen)
    columns = read_columns(chosen.data)
    full_bytes = 4 * chosen.embedding_dim * sum(column.num_embeddings for column in columns)
    budget = _budget(chosen, full_bytes)
    plan = allocate(columns, chosen.embedding_dim, budget, chosen.exact_up_to, chosen.num_lookups)
    show(plan, columns, budget, full_bytes)
    if chosen.gpus is not None:
        show_fleet(plan, columns, _fleet(chosen))
    text = as_yaml(plan, columns, f"recsys plan {chosen.data}: {plan.num_bytes:,} bytes of {budget:,} allowed.")
    if chosen.out is None:
        print(text, end="")
    elif chosen.out.exists() and not chosen.overwrite:
        raise ValueError(f"--out: '{chosen.out}' exists; choose another file, or replace it with --overwrite.")
    else:
        write_whole_text(chosen.out, text)
        print(f"wrote {chosen.out}; train it with one more -c {chosen.out}")
    return 0


def _check(chosen: argparse.Namespace) -> None:
    """Refuse numbers out of range, and words that do nothing without another."""
    for name in ("embedding_dim", "num_lookups", *(["gpus"] if chosen.gpus is not None else []), *_given(chosen)):
        value = getattr(chosen, name)
        if name != "memory" and value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}.")
    if chosen.gpus is not None and chosen.gpus > _MAX_GPUS:
        raise ValueError(f"--gpus must be in [1, {_MAX_GPUS}], got {chosen.gpus}.")
    if chosen.embedding_dim > _MAX_EMBEDDING_DIM:
        raise ValueError(f"--embedding_dim must be in [1, {_MAX_EMBEDDING_DIM}], got {chosen.embedding_dim}.")
    if chosen.exact_up_to < 0:
        raise ValueError(f"--exact_up_to must be at least 0, got {chosen.exact_up_to}.")
    if chosen.gpus is None and _given(chosen):
        name = _given(chosen)[0]
        raise ValueError(f"--{name} {getattr(chosen, name)}: is said of the devices of --gpus, which is missing.")
    if chosen.overwrite and chosen.out is None:
        raise ValueError("--overwrite: replaces the file of --out, which is missing.")


def _given(chosen: argparse.Namespace) -> list[str]:
    """What is said of devices."""
    return [name for name in _OF_DEVICES if getattr(chosen, name) is not None]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = CommandParser(prog="recsys plan", description="Table sizes for a budget, from counts alone.")
    found.add_argument("data", type=Path, help="prepared folder of clicks, with its counts/")
    budget = found.add_mutually_exclusive_group(required=True)
    budget.add_argument("--budget_bytes", help="of all rows in float32, such as 8MB")
    budget.add_argument("--budget_fraction", help="the same as a fraction of full tables, such as 1%%")
    found.add_argument("--embedding_dim", type=int, default=16, help="D")
    found.add_argument("--exact_up_to", type=int, default=0, help="features with at most this many ids stay exact")
    found.add_argument("--num_lookups", type=int, default=2, help="rows of the shared matrix that an id reads")
    found.add_argument("--out", type=Path, help="YAML file for one more -c; printed if not given")
    found.add_argument("--overwrite", action="store_true", help="replace the file")
    found.add_argument("--gpus", type=int, help="devices to spread the rows over; none is needed at hand")
    found.add_argument("--memory", help="of each device (80GB); nine tenths are for rows and their state")
    found.add_argument("--batch_size", type=int, help="samples of a step over all devices (65,536)")
    found.add_argument("--gpus_per_host", type=int, help="devices that share a host (8)")
    return found


def read_columns(folder: Path) -> list[Column]:
    """The features of a prepared folder with an id each, and how often every id was read.

    Raises:
        ValueError: if a feature has no counts.
    """
    columns = []
    for column in Schema.read(folder).columns:
        if column.num_embeddings is None:
            continue
        counts = read_counts(folder / "counts", column.name, column.num_embeddings)
        if counts is None:
            raise ValueError(f"recsys plan: '{folder}/counts' has no {column.name}.parquet; prepare the folder again.")
        columns.append(Column(column.name, counts))
    if not columns:
        raise ValueError(f"recsys plan: '{folder}' has no feature with ids.")
    return columns


def _budget(chosen: argparse.Namespace, full_bytes: int) -> int:
    if chosen.budget_bytes is not None:
        return parse_bytes(chosen.budget_bytes)
    return bytes_of_fraction(chosen.budget_fraction, full_bytes)


def _fleet(chosen: argparse.Namespace) -> Fleet:
    memory, batch_size, most = (getattr(chosen, name) or usual for name, usual in _OF_DEVICES.items())
    per_host = min(chosen.gpus, most)
    if chosen.gpus % per_host:
        raise ValueError(f"--gpus {chosen.gpus} must be a multiple of --gpus_per_host {most}.")
    try:
        memory_bytes = parse_bytes(memory)
    except ValueError as error:
        raise ValueError(str(error).replace("budget_bytes", "--memory")) from None
    return Fleet(chosen.gpus, int(0.9 * memory_bytes), batch_size, per_host)


def show(plan: Allocation, columns: Sequence[Column], budget: int, full_bytes: int) -> None:
    """A line a feature, and the totals."""
    table = RichTable(title="Plan")
    for name in ("feature", "ids", "own rows", "reads of them"):
        table.add_column(name, justify="left" if name == "feature" else "right")
    for column in columns:
        share = 1 - plan.tail_share(column)
        table.add_row(column.name, f"{column.num_embeddings:,}", f"{plan.heads[column.name]:,}", f"{share:.2%}")
    console().print(table)
    reads = sum(int(column.counts.sum()) for column in columns)
    if plan.num_rows:
        tail_ids = sum(column.num_embeddings - plan.heads[column.name] for column in columns)
        tail_reads = sum(plan.tail_share(column) * column.counts.sum() for column in columns) / max(1, reads)
        print(
            f"{tail_ids:,} other ids, {tail_reads:.2%} of all reads, share {plan.num_rows:,} rows of "
            f"{plan.embedding_dim // plan.num_lookups}: each of an id's {plan.num_lookups} rows has "
            f"{plan.readers(columns):.2f} readers on average, itself among them"
        )
    print(f"{human_bytes(plan.num_bytes)} of {human_bytes(budget)} allowed; full tables take {human_bytes(full_bytes)}")


def show_fleet(plan: Allocation, columns: Sequence[Column], fleet: Fleet) -> None:
    """What each device holds and sends."""
    placed = place(plan, columns, fleet)
    sent, between = human_bytes(placed.sent.within), human_bytes(placed.sent.between)
    print(
        f"{fleet.num_devices} devices: {human_bytes(placed.least_bytes)} to {human_bytes(placed.most_bytes)} each with "
        f"RowWiseAdagrad's state, of {human_bytes(fleet.memory_bytes)}; a device sends {sent} a step within its host "
        f"and {between} beyond, at batch {fleet.batch_size:,} with one id of every feature"
    )
