"""From raw files to a prepared folder, in three streaming passes over scratch arrays on disk.

1. read: parse blocks of raw lines into one array file per column; a categorical column is coded block by block, each
   block with a dictionary of its own;
2. encode: per feature, add up how often train rows have each value, and give the dictionaries' values their ids; fit
   the transforms of numbers to the train rows;
3. write: gather the columns into Parquet row groups.

Memory holds some blocks and the vocabularies of as many features as there are threads. The scratch arrays take about
three quarters of the raw text's disk space, in the unfinished folder, and are gone at the end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from recsys.prepare.clicks.dense_range import ranged
from recsys.prepare.clicks.dense_values import DenseTransform, counted, fit_transform
from recsys.prepare.clicks.feature_encoding import EncodingRule, encode_feature, encode_group
from recsys.prepare.clicks.parquet_output import write_splits
from recsys.prepare.clicks.preparation_report import FeatureSummary, describe, schema_of
from recsys.prepare.clicks.raw_dataset import ParsedBlock, RawDataset
from recsys.prepare.clicks.raw_keys import KeyCodes, code_keys
from recsys.prepare.clicks.row_split import SPLITS, TRAIN, SplitRule, assign_splits
from recsys.prepare.clicks.row_store import RowStore
from recsys.prepare.files.bad_lines import LineReport
from recsys.prepare.files.open_table import Block
from recsys.prepare.files.ordered_map import ordered_map
from recsys.prepare.files.prepared_files import write_bin_names, write_counts, write_schema, write_vocabulary


@dataclass(frozen=True)
class PreparationRule:
    """Everything that decides what the prepared rows are, apart from the raw files.

    Attributes:
        transforms: Fitted by an earlier preparation, by feature.
        says: What schema.json keeps of the rule beside its own entries.
        labelled_by: The option that tells clicks from others, refused where it tells none apart; empty for 0 and 1.
    """

    encoding: EncodingRule
    split: SplitRule
    on_bad_line: str = "fail"
    num_threads: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    transforms: Mapping[str, DenseTransform] = field(default_factory=dict)
    says: Mapping[str, object] = field(default_factory=dict)
    labelled_by: str = ""


def prepare(dataset: RawDataset, rule: PreparationRule, folder: Path) -> list[str]:
    """Fill ``folder`` (an empty one) and return the lines of the report.

    Raises:
        ValueError: A raw file is missing, damaged or empty, has a bad line under the policy ``fail``, or no line is
            usable.
    """
    known = [feature.name for feature in dataset.features if feature.kind != "dense"]
    for name in sorted(rule.encoding.number_unseen - set(known)):
        raise ValueError(f"--number-unseen: there is no feature '{name}' with ids (there are: {', '.join(known)}).")
    store = RowStore(folder / "scratch", dataset.features, dataset.beside)
    with _progress_bar() as bar, LineReport(rule.on_bad_line, folder / "bad_lines.tsv") as report:
        _read(dataset, rule, store, report, bar)
        _check_labels(rule, store)
        assign_splits(rule.split, store)
        _check_weights(rule, store)
        fitted = _fit(dataset, rule, store, bar)
        encoded = _encode(dataset, rule, store, folder, bar) | _write_bins(fitted, folder)
        task = bar.add_task("writing", total=store.num_rows)
        names = ("test",) if rule.split.by == "test" else SPLITS
        splits = write_splits(folder, store, fitted, rule.num_threads, lambda count: bar.advance(task, count), names)
    shutil.rmtree(folder / "scratch")
    says = {
        **rule.says,
        "split": rule.split.as_json(),
        "min_count": rule.encoding.min_count,
        "hash_bits": rule.encoding.hash_bits,
        "number_unseen": sorted(rule.encoding.number_unseen),
    }
    write_schema(folder, schema_of(dataset, report, encoded, fitted, splits, says))
    return [*report.summary(), *describe(dataset, encoded, fitted, splits, store.num_rows)]


def _progress_bar() -> Progress:
    columns = TextColumn("{task.description:>8}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True))


def _read(dataset: RawDataset, rule: PreparationRule, store: RowStore, report: LineReport, bar: Progress) -> None:
    files = [*dataset.side_files, *dataset.main_files]
    task = bar.add_task("reading", total=sum(file.path.stat().st_size for file in files))
    for file in files:
        file.on_bytes = lambda count: bar.advance(task, count)
    dataset.read_side_files(report)

    def parse(block: Block) -> tuple[Block, ParsedBlock, list[KeyCodes], KeyCodes | None]:
        parsed = dataset.parse(block)
        rows = parsed.rows
        coded = [code_keys(keys) for keys in (*rows.keys, *(bag.keys for bag in rows.bags))]
        return block, parsed, coded, None if rows.groups is None else code_keys(rows.groups)

    for block, parsed, coded, group in ordered_map(parse, dataset.blocks(), rule.num_threads):
        counts = report.of(block.file)
        counts.read += block.num_lines if parsed.num_records is None else parsed.num_records
        report.bad(parsed.bad)
        counts.dropped += parsed.dropped
        counts.kept += len(parsed.rows)
        left = counts.read - counts.kept - counts.skipped - counts.dropped.total()
        assert left == 0, f"{left} lines of {block.file} are not accounted for"
        store.append(parsed.rows, coded, group)
    if not store.num_rows:
        names = ", ".join(file.name for file in dataset.main_files)
        raise ValueError("\n".join([f"{names} has no usable line.", *report.summary()]))


def _check_labels(rule: PreparationRule, store: RowStore) -> None:
    if not rule.labelled_by or store.labels is None:
        return
    num_clicks = sum(int(np.count_nonzero(store.labels.read(block))) for block in range(store.num_blocks))
    if num_clicks in (0, store.num_rows):
        found = "no row is a click" if not num_clicks else "every row is a click"
        raise ValueError(
            f"{rule.labelled_by}: {found}, and nothing can be learned; texts count as they are written, numbers from "
            "the least that is a click."
        )


def _check_weights(rule: PreparationRule, store: RowStore) -> None:
    if store.weights is None or rule.split.by == "test":
        return
    blocks = range(store.num_blocks)
    if not any((store.weights.read(block)[store.splits.read(block) == TRAIN] > 0).any() for block in blocks):
        raise ValueError("--weight: no train row has a weight above 0, so there is nothing to train on.")


def _fit(dataset: RawDataset, rule: PreparationRule, store: RowStore, bar: Progress) -> dict[str, DenseTransform]:
    words = {feature.name: feature.transform for feature in dataset.features if feature.transform is not None}

    def fit(name: str) -> tuple[str, DenseTransform]:
        known = rule.transforms.get(name)
        found = fit_transform(store, name, words[name]) if known is None else known
        return name, ranged(store, name, counted(store, name, found))

    return (
        dict(bar.track(ordered_map(fit, words, rule.num_threads), len(words), description="fitting")) if words else {}
    )


def _encode(
    dataset: RawDataset, rule: PreparationRule, store: RowStore, folder: Path, bar: Progress
) -> dict[str, FeatureSummary]:

    def encode(name: str) -> tuple[str, FeatureSummary]:
        encoded = encode_feature(store, name, rule.encoding, dataset.long_values)
        write_counts(folder, name, encoded.counts)
        if encoded.vocabulary is not None:
            write_vocabulary(folder, name, encoded.vocabulary, dataset.long_values)
        trains_rest = bool(encoded.counts[0])
        return name, FeatureSummary(
            num_embeddings=encoded.num_embeddings,
            num_values=encoded.num_values,
            num_unseen=encoded.num_unseen,
            num_new=encoded.num_new,
            trains_rest=trains_rest,
            num_held_out=encoded.num_held_out,
            is_known=name in rule.encoding.known,
            num_trained=int(np.count_nonzero(encoded.counts)),
            longest=store.coded[name].longest(),
        )

    encoded = ordered_map(encode, list(store.coded), rule.num_threads)
    found = dict(bar.track(encoded, len(store.coded), description="encoding"))
    if store.group is not None:
        write_vocabulary(folder, "group", encode_group(store, dataset.long_values), dataset.long_values)
    return found


def _write_bins(fitted: Mapping[str, DenseTransform], folder: Path) -> dict[str, FeatureSummary]:
    found = {}
    for name, transform in fitted.items():
        if transform.kind == "bins":
            write_counts(folder, name, np.array(transform.counts, dtype=np.int64))
            write_bin_names(folder, name, transform.bin_names())
            found[name] = FeatureSummary(
                transform.num_embeddings, None, num_trained=int(np.count_nonzero(transform.counts))
            )
    return found
