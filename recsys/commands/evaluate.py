"""`recsys evaluate`: metrics of prediction files with intervals, slices, a comparison and a page of pictures.

recsys evaluate predictions.parquet --out report
recsys evaluate predictions.parquet --group user --slice device --frequency item=data/counts/item.parquet
recsys evaluate first.parquet --against second.parquet
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.commands.checkpoint_predictions import predict_with_columns
from recsys.evaluation.calibration import reliability
from recsys.evaluation.files import Names, PredictionFiles, Rows
from recsys.evaluation.paired import compare_lists, compare_rows
from recsys.evaluation.plots import reliability_curve, roc_curve, slice_bars
from recsys.evaluation.precision_recall import roc_points
from recsys.evaluation.report import Report
from recsys.evaluation.slices import Slices, by_frequency, by_time, by_value
from recsys.evaluation.summary import (
    Settings,
    group_codes,
    probabilities,
    summarize,
    summarize_slices,
    summarize_stream,
    value_of,
)

BYTES_PER_ROW = 120  # of all metrics in memory, at their peak
STREAM_BYTES_PER_ROW = 40  # of the exact AUC alone


def main(arguments: Sequence[str]) -> int:
    """Evaluate, print and write; returns the exit code.

    Raises:
        ValueError: on bad input, naming file, column and row.
    """
    chosen, others = parser().parse_known_args(list(arguments))
    if chosen.ckpt_path is None:
        if others or chosen.config:
            raise ValueError(
                f"{' '.join([*others, *chosen.config])}: only with --ckpt_path; see recsys evaluate --help."
            )
        return _evaluate(chosen, _title(chosen.files))
    if chosen.files:
        raise ValueError("give either prediction files or --ckpt_path with -c, not both.")
    configs = [word for config in chosen.config for word in ("-c", config)]
    with TemporaryDirectory() as folder:
        columns = _columns(chosen)
        path = predict_with_columns(chosen.ckpt_path, [*configs, *others], columns, Path(folder))
        chosen.files = [path]
        return _evaluate(chosen, str(chosen.ckpt_path))


def _evaluate(chosen: argparse.Namespace, title: str) -> int:
    files = PredictionFiles(chosen.files, _names(chosen))
    settings = Settings(chosen.logits, chosen.confidence, chosen.seed, tuple(chosen.cutoffs), ranking=chosen.ranking)
    num_rows = files.num_rows()
    budget = int(chosen.memory * 2**30)
    if num_rows is not None and num_rows * BYTES_PER_ROW > budget:
        report = _streamed(chosen, title, files, settings, budget // STREAM_BYTES_PER_ROW)
    else:
        report = _in_memory(chosen, title, files, settings)
    report.print()
    if chosen.out is not None:
        report.write(chosen.out)
        print(f"report: {chosen.out / 'report.html'}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="recsys evaluate", description="Metrics of prediction files.")
    found.add_argument("files", nargs="*", type=Path, help=".parquet, .csv or .tsv, read as one")
    found.add_argument(
        "--ckpt_path", type=Path, help="predict with this checkpoint first; further options as predict's"
    )
    found.add_argument("-c", "--config", action="append", default=[], help="config of the checkpoint, once or more")
    found.add_argument("--label", default="label", help="column of 0 and 1 (default: label)")
    found.add_argument("--score", default="score", help="column of probabilities (default: score)")
    found.add_argument("--logits", action="store_true", help="scores are logits")
    found.add_argument("--weight", help="column of row weights")
    found.add_argument(
        "--group", help="column of users: adds GAUC; intervals and tests take whole users, not rows, as independent"
    )
    found.add_argument("--ranking", action="store_true", help="groups are queries: HR, recall, NDCG, MRR, not GAUC")
    found.add_argument("--cutoffs", type=int, nargs="+", default=[5, 10, 20], help="list lengths of --ranking")
    found.add_argument("--slice", nargs="+", default=[], metavar="COLUMN", help="metrics by value of these columns")
    found.add_argument(
        "--frequency", nargs="+", default=[], metavar="COLUMN=COUNTS", help="by training frequency of these ids"
    )
    found.add_argument("--time", help="column of times: metrics by consecutive spans")
    found.add_argument(
        "--against", nargs="+", type=Path, help="files of a second model, same rows (--ranking: same queries): compare"
    )
    found.add_argument("--confidence", type=float, default=0.95)
    found.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    found.add_argument("--memory", type=float, default=8.0, metavar="GIB", help="rows beyond it are streamed (8)")
    found.add_argument("--out", type=Path, help="folder for metrics.json, metrics.parquet and report.html")
    return found


def _names(chosen: argparse.Namespace) -> Names:
    if chosen.ranking and chosen.group is None:
        raise ValueError("--ranking needs --group, the column of queries.")
    if chosen.ranking and (chosen.slice or chosen.frequency or chosen.time or chosen.weight):
        raise ValueError("--ranking allows no --slice, --frequency, --time or --weight.")
    return Names(
        label=chosen.label,
        score=chosen.score,
        weight=chosen.weight,
        others=_columns(chosen),
        # Ranking needs an order only, so any score will do.
        logits=chosen.logits or chosen.ranking,
    )


def _columns(chosen: argparse.Namespace) -> tuple[str, ...]:
    """What is read beside label, score and weight."""
    named = [chosen.group, chosen.time, *chosen.slice, *(column for column, _ in _frequencies(chosen))]
    return tuple(dict.fromkeys(name for name in named if name))


def _frequencies(chosen: argparse.Namespace) -> list[tuple[str, Path]]:
    found = []
    for entry in chosen.frequency:
        column, separator, counts = entry.partition("=")
        if not separator or not counts:
            raise ValueError(f"--frequency: must be COLUMN=COUNTS.parquet, got '{entry}'.")
        found.append((column, Path(counts)))
    return found


def _in_memory(chosen: argparse.Namespace, title: str, files: PredictionFiles, settings: Settings) -> Report:
    rows = files.all()
    groups = group_codes(rows.others[chosen.group]) if chosen.group else None
    try:
        metrics = summarize(rows, groups, settings)
    except ValueError as error:
        raise ValueError(f"{title}: {error}") from error
    if settings.ranking:
        lists = {}
        if chosen.against:
            lists = compare_lists(rows, PredictionFiles(chosen.against, _names(chosen)).all(), chosen.group, settings)
        return Report(title, metrics, lists, _notes(rows, groups, settings))
    cuts = _cuts(chosen, rows.others)
    metrics += summarize_slices(rows, groups, cuts, settings)
    comparison = {}
    if chosen.against:
        second = PredictionFiles(
            chosen.against, Names(chosen.label, chosen.score, chosen.weight, (), chosen.logits)
        ).all()
        comparison = compare_rows(rows, second, groups, settings)
    bins = reliability(rows.is_positive, probabilities(rows.scores, settings.logits), rows.weights)
    figures = {
        "ROC curve": roc_curve(roc_points(rows.is_positive, rows.scores), value_of(metrics, "auc")),
        "Reliability": reliability_curve(bins),
        **{f"AUC by {cut}": slice_bars(metrics, cut) for cut in cuts},
    }
    return Report(title, metrics, comparison, _notes(rows, groups, settings), figures)


def _streamed(
    chosen: argparse.Namespace, title: str, files: PredictionFiles, settings: Settings, memory_rows: int
) -> Report:
    unmet = [
        f"--{name}" for name in ("group", "slice", "frequency", "time", "against", "weight") if getattr(chosen, name)
    ]
    if unmet:
        raise ValueError(
            f"{files.num_rows():,} rows take more than --memory {chosen.memory:g} GiB, and streamed rows allow no "
            f"{', '.join(unmet)}; raise --memory or leave them out."
        )
    metrics = summarize_stream(files, settings, memory_rows)
    note = (
        f"Streamed: the rows do not fit in {chosen.memory:g} GiB, so metrics that need all rows at once are left out."
    )
    return Report(title, metrics, notes=[note])


def _cuts(chosen: argparse.Namespace, columns: dict[str, pa.Array]) -> dict[str, Slices]:
    cuts = {name: by_value(columns[name]) for name in chosen.slice}
    cuts |= {f"frequency of {name}": by_frequency(columns[name], counts) for name, counts in _frequencies(chosen)}
    if chosen.time:
        cuts[chosen.time] = by_time(columns[chosen.time])
    return cuts


def _notes(rows: Rows, groups: NDArray[np.int64] | None, settings: Settings) -> list[str]:
    if settings.ranking:
        how = "bootstrap over queries"
    elif groups is None:
        how = "DeLong for AUC (rows taken as independent), bootstrap over rows for the others"
    else:
        how = "DeLong clustered by group for AUC (Obuchowski, 1997), bootstrap over groups for the others"
    notes = [
        f"{len(rows):,} rows, {int(np.count_nonzero(rows.is_positive)):,} of them with label 1. "
        f"Intervals at {settings.confidence:.0%}: {how}."
    ]
    if groups is not None:
        positives = np.bincount(groups, rows.is_positive)
        counts = np.bincount(groups)
        single = (positives == 0) | (positives == counts)
        if settings.ranking:
            notes.append(f"{int((positives == 0).sum()):,} of {len(counts):,} queries have no relevant item: left out.")
        else:
            excluded = f"{int(single.sum()):,} of {len(counts):,} groups, {int(counts[single].sum()):,} rows"
            notes.append(f"GAUC leaves out groups with one label only: {excluded}.")
    return notes


def _title(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)
