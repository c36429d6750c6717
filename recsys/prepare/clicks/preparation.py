"""From raw files to a prepared folder, in three streaming passes over scratch arrays on disk.

1. read: parse blocks of raw lines into one array file per column; a categorical column is coded block by block, each
   block with a dictionary of its own;
2. encode: per feature, add up how often train rows have each value, and give the dictionaries' values their ids;
3. write: gather the columns into Parquet row groups.

Memory holds some blocks and the vocabularies of as many features as there are threads. The scratch arrays take about
three quarters of the raw text's disk space, in the unfinished folder, and are gone at the end.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from recsys.prepare.clicks.feature_encoding import EncodingRule, encode_feature
from recsys.prepare.clicks.parquet_output import write_splits
from recsys.prepare.clicks.raw_dataset import ParsedBlock, RawDataset
from recsys.prepare.clicks.raw_keys import KeyCodes, code_keys
from recsys.prepare.clicks.row_split import SplitRule, assign_splits
from recsys.prepare.clicks.row_store import RowStore
from recsys.prepare.files.bad_lines import BadLine, LineReport
from recsys.prepare.files.ordered_map import ordered_map
from recsys.prepare.files.prepared_files import feature_entry, write_feature_files, write_schema
from recsys.prepare.files.raw_files import RawBlock, RawFile


@dataclass(frozen=True)
class PreparationRule:
    """Everything that decides what the prepared rows are, apart from the raw files."""

    encoding: EncodingRule
    split: SplitRule
    on_bad_line: str = "fail"
    num_threads: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class FeatureSummary:
    """What the report and schema.json say of an encoded feature; ``num_values`` is None where values are hashed."""

    num_embeddings: int
    num_values: int | None


def prepare(dataset: RawDataset, rule: PreparationRule, folder: Path) -> list[str]:
    """Fill ``folder`` (an empty one) and return the lines of the report.

    Raises:
        ValueError: A raw file is missing or empty, has a bad line under the policy ``fail``, or no line is usable.
    """
    known = [feature.name for feature in dataset.features if feature.kind != "dense"]
    for name in sorted(rule.encoding.number_unseen - set(known)):
        raise ValueError(f"--number-unseen: there is no feature '{name}' with ids (there are: {', '.join(known)}).")
    store = RowStore(folder / "scratch", dataset.features)
    with _progress_bar() as bar, LineReport(rule.on_bad_line, folder / "bad_lines.tsv") as report:
        _read(dataset, rule, store, report, bar)
        assign_splits(rule.split, store)
        encoded = _encode(dataset, rule, store, folder, bar)
        task = bar.add_task("writing", total=store.num_rows)
        splits = write_splits(folder, store, rule.num_threads, lambda count: bar.advance(task, count))
    shutil.rmtree(folder / "scratch")
    write_schema(folder, _schema(dataset, rule, report, encoded, splits))
    return [*report.summary(), *_describe(splits, encoded)]


def _progress_bar() -> Progress:
    columns = TextColumn("{task.description:>8}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True))


def _read(dataset: RawDataset, rule: PreparationRule, store: RowStore, report: LineReport, bar: Progress) -> None:
    main = dataset.main_file
    task = bar.add_task("reading", total=sum(file.path.stat().st_size for file in [main, *dataset.side_files]))
    for file in [main, *dataset.side_files]:
        file.on_bytes = lambda count: bar.advance(task, count)
    dataset.read_side_files(report)
    counts = report.of(main.path.name)

    def parse(block: RawBlock) -> tuple[RawBlock, ParsedBlock | None, list[KeyCodes]]:
        if block.damage is not None:
            return block, None, []
        parsed = dataset.parse(block)
        return block, parsed, [code_keys(keys) for keys in (*parsed.rows.keys, *(bag.keys for bag in parsed.rows.bags))]

    for block, parsed, coded in ordered_map(parse, main.blocks(), rule.num_threads):
        counts.read += block.num_lines
        if parsed is None:
            report.bad([BadLine(block.file, block.first_line, block.damage or "")])
            continue
        report.bad(parsed.bad)
        counts.dropped += parsed.dropped
        counts.kept += len(parsed.rows.labels)
        store.append(parsed.rows, coded)
    left = counts.read - counts.kept - counts.skipped - counts.dropped.total()
    assert left == 0, f"{left} lines of {main.path.name} are not accounted for"
    if not counts.kept:
        raise ValueError("\n".join([f"{main.path.name} has no usable line.", *report.summary()]))


def _encode(
    dataset: RawDataset, rule: PreparationRule, store: RowStore, folder: Path, bar: Progress
) -> dict[str, FeatureSummary]:

    def encode(name: str) -> tuple[str, FeatureSummary]:
        encoded = encode_feature(store, name, rule.encoding, dataset.long_values)
        write_feature_files(folder, name, encoded, dataset.long_values)
        return name, FeatureSummary(encoded.num_embeddings, encoded.num_values)

    encoded = ordered_map(encode, list(store.coded), rule.num_threads)
    return dict(bar.track(encoded, len(store.coded), description="encoding"))


def _schema(
    dataset: RawDataset,
    rule: PreparationRule,
    report: LineReport,
    encoded: dict[str, FeatureSummary],
    splits: dict[str, dict[str, object]],
) -> dict[str, object]:
    num_embeddings = {name: summary.num_embeddings for name, summary in encoded.items()}
    return {
        "dataset": dataset.name,
        "label": "label",
        "features": [feature_entry(feature, num_embeddings.get(feature.name)) for feature in dataset.features],
        "splits": splits,
        "split": rule.split.as_json(),
        "min_count": rule.encoding.min_count,
        "hash_bits": rule.encoding.hash_bits,
        "number_unseen": sorted(rule.encoding.number_unseen),
        "source": {
            "files": {file.path.name: _origin(file) for file in [dataset.main_file, *dataset.side_files]},
            "lines": {file: counts.as_json() for file, counts in report.files.items()},
        },
    }


def _origin(file: RawFile) -> dict[str, object]:
    return {"bytes": file.num_bytes, "sha256": file.sha256}


def _describe(splits: dict[str, dict[str, object]], encoded: dict[str, FeatureSummary]) -> list[str]:
    lines = [
        f"{name}: {split['num_rows']:,} rows, label rate {_rate(split['label_rate'])}" for name, split in splits.items()
    ]
    num_embeddings = sum(summary.num_embeddings for summary in encoded.values())
    num_values = [summary.num_values for summary in encoded.values() if summary.num_values is not None]
    if num_values:
        lines.append(f"{sum(num_values):,} distinct values in {len(encoded)} features, all splits")
    return [*lines, f"{num_embeddings:,} ids, of which {len(encoded)} are id 0 (rare, unseen or missing)"]


def _rate(label_rate: object) -> str:
    return "none" if label_rate is None else f"{label_rate:.4f}"
