"""From an event log to a prepared folder of sequences."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.files.bad_lines import LOUD_FRACTION
from recsys.prepare.files.prepared_files import write_schema
from recsys.prepare.sessions.filter import FilterRule, flat
from recsys.prepare.sessions.items import ItemIds, encode_items, number_items
from recsys.prepare.sessions.log import EventLog, event_counts
from recsys.prepare.sessions.output import checksum, write_counts, write_split, write_vectors, write_vocabularies
from recsys.prepare.sessions.splits import Flat, SplitRows, SplitRule
from recsys.prepare.sessions.text_vectors import text_vectors


@dataclass(frozen=True)
class SessionRule:
    """Everything that decides what the prepared sequences are, apart from the log.

    Args:
        filter: sessions and cores.
        split: train, val and test.
        text_dim: width of the vectors made of items' texts; None makes none.
    """

    filter: FilterRule
    split: SplitRule
    text_dim: int | None = None


def prepare_sessions(log: EventLog, rule: SessionRule, folder: Path) -> list[str]:
    """Fill `folder` (an empty one) and return the lines of the report.

    Raises:
        ValueError: the log lacks what the rule needs, or nothing is left of it.
    """
    events = rule.filter.apply(log.events)
    if rule.split.by == "random":
        events = _shuffled(events, rule.split.seed)
    sequences = flat(events)
    splits = rule.split.rows(sequences)
    ids, counts = number_items(events["item"], _is_trained(splits["train"], len(events)))
    vectors = _vectors(log, ids, rule.text_dim)
    metadata, columns, vocabularies = encode_items(log, ids)
    users, user_values = _users(events, sequences)
    infos = {
        name: write_split(folder / name, rows, users, ids.events, sequences.times) for name, rows in splits.items()
    }
    write_counts(folder, counts)
    metadata.write_parquet(folder / "items.parquet")
    write_vocabularies(folder, {"item": ids.values, "user": user_values, **vocabularies})
    write_vectors(folder, vectors)
    digest = checksum(sequences, ids.events, ids.values, splits)
    raw = dict(zip(("users", "items", "events"), event_counts(log.events), strict=True))
    content = {
        "dataset": log.name,
        "num_items": len(ids.values),
        "num_users": len(user_values),
        "num_sequences": len(sequences.offsets) - 1,
        "num_events": len(events),
        "has_times": sequences.times is not None,
        "item_columns": columns,
        "vectors": {name: matrix.shape[1] for name, matrix in vectors.items()},
        "splits": infos,
        "filter": asdict(rule.filter),
        "split": asdict(rule.split),
        "source": raw,
        "checksum": digest,
    }
    write_schema(folder, content)
    return [*log.notes, *_report(raw, events, sequences, infos, counts, splits, ids), f"checksum {digest[:16]}"]


def _shuffled(events: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Events of every sequence in random order, without times, which mean nothing then."""
    draw = pl.Series(np.random.default_rng(seed).random(len(events)))
    return events.drop("time", strict=False).with_columns(draw=draw).sort("sequence", "draw").drop("draw")


def _is_trained(train: SplitRows, num_events: int) -> NDArray[np.bool_]:
    """Which events lie in a row of train; the rows do not overlap."""
    steps = np.zeros(num_events + 1, np.int64)
    np.add.at(steps, train.start, 1)
    np.add.at(steps, train.stop, -1)
    return np.cumsum(steps)[:-1] > 0


def _users(events: pl.DataFrame, sequences: Flat) -> tuple[NDArray[np.int64], pl.Series]:
    """Number of each sequence's user, and the users' names: a user's sessions share one number."""
    names = events["user"].gather(sequences.offsets[:-1])
    values = names.unique(maintain_order=True)
    numbers = pl.DataFrame({"user": values, "number": np.arange(len(values))})
    joined = names.to_frame("user").join(numbers, on="user", how="left", maintain_order="left")
    return joined["number"].to_numpy(), values


def _vectors(log: EventLog, ids: ItemIds, text_dim: int | None) -> dict[str, NDArray[np.float32]]:
    """[V + 1, T] matrices in the order of ids; zeros where an item has no vector."""
    placed = {}
    for name, (items, matrix) in log.vectors.items():
        places = ids.place(items)
        placed[name] = np.zeros((len(ids.values) + 1, matrix.shape[1]), np.float32)
        placed[name][places[places > 0]] = matrix[places > 0]
    if text_dim is not None:
        if log.texts is None:
            raise ValueError(f"--text-dim: {log.name} has no texts of items.")
        places = ids.place(log.texts["item"])
        found = text_vectors(log.texts["text"].filter(places > 0), text_dim)
        placed["text"] = np.zeros((len(ids.values) + 1, text_dim), np.float32)
        placed["text"][places[places > 0]] = found
    return placed


def _report(
    raw: dict[str, int],
    events: pl.DataFrame,
    sequences: Flat,
    infos: dict[str, dict[str, int]],
    counts: NDArray[np.int64],
    splits: dict[str, SplitRows],
    ids: ItemIds,
) -> list[str]:
    lengths = np.diff(sequences.offsets)
    dropped = 1 - len(events) / raw["events"]
    loss = [f"WARNING: the filters have dropped {dropped:.1%} of all events"] if dropped > LOUD_FRACTION else []
    repeats = 1 - len(events.unique(["sequence", "item"])) / len(events)
    lines = [
        f"read: {raw['users']:,} users, {raw['items']:,} items, {raw['events']:,} events",
        f"kept: {len(lengths):,} sequences of {events['user'].n_unique():,} users, {len(ids.values):,} items, "
        f"{len(events):,} events; length mean {lengths.mean():.2f}, median {np.median(lengths):g}, "
        f"max {lengths.max():,}; {repeats:.1%} of events repeat an item of their sequence",
    ]
    if len(ids.values) < 2:
        loss.append("WARNING: there is one item, so that every list is right and nothing is learned")
    if (splits["train"].stop - splits["train"].start).max(initial=0) < 2:
        loss.append("WARNING: no train row has two events, so that none follows another and nothing can be learned")
    for name, info in infos.items():
        if not info["num_rows"]:
            loss.append(f"WARNING: {name} has no rows")
        target = splits[name].target
        line = f"{name}: {info['num_rows']:,} rows, {info['num_events']:,} events"
        if target is not None:
            num_cold = int((counts[ids.events[target]] == 0).sum())
            line += f", {len(target):,} targets, {num_cold:,} of them items never trained on"
        lines.append(line)
    return [*lines, *loss]
