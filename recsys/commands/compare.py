"""`recsys compare`: contenders x seeds from one file, resumable, with a Pareto front of quality against bytes.

recsys compare run configs/compare/movielens.yaml --data data/ml-1m --store runs
recsys compare report configs/compare/movielens.yaml --data data/ml-1m --store runs --out report
recsys compare search configs/compare/movielens.yaml --data data/ml-1m --store runs --trials 20
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.table import Table

from recsys.comparison.arguments import check_contenders
from recsys.comparison.found import with_found_settings
from recsys.comparison.metric_check import check_metric
from recsys.comparison.near_best import all_runs
from recsys.comparison.reading import read_comparison
from recsys.comparison.report import ComparisonReport, marked
from recsys.comparison.results import failures, missing, run_rows, summarize
from recsys.comparison.runner import execute
from recsys.comparison.search import search
from recsys.comparison.spec import Comparison
from recsys.comparison.store import RunStore
from recsys.configuration.stops import Terminated, terminated_as_interrupted
from recsys.human import console
from recsys.prepare.files.command_parser import CommandParser, whole_number

_TRIALS = 20


def main(arguments: Sequence[str]) -> int:
    """Run, search or report; returns 1 if a run failed, 130 if Ctrl-C ended it and 143 if SIGTERM did.

    Raises:
        ValueError: on a mistake in the comparison file or the arguments.
    """
    chosen = parser().parse_args(list(arguments))
    _check_use(chosen)
    comparison, store = read_comparison(chosen.file, chosen.data), RunStore(chosen.store)
    _check_places(chosen, comparison.name)
    run_all = partial(execute, store=store, num_jobs=chosen.jobs or 1, num_threads=chosen.threads or 1)
    if chosen.job != "report":
        check_metric(comparison)
        check_contenders(comparison)
        try:
            with terminated_as_interrupted():
                if chosen.job == "search":
                    comparison = search(comparison, store, run_all, chosen.trials or _TRIALS, chosen.jobs or 1)
                run_all(comparison.runs())
                run_all(all_runs(comparison, store))
        except KeyboardInterrupt as stop:
            print("stopped; the same command goes on with what is not done", file=sys.stderr)
            return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)
    elif not chosen.as_written:
        comparison = with_found_settings(comparison, store) or comparison
    report = report_of(comparison, store)
    show(report)
    if chosen.out is not None:
        report.write(chosen.out)
        print(f"report: {chosen.out / 'report.html'}")
    for page in chosen.update:
        report.update(page)
    return 1 if report.failed else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = CommandParser(prog="recsys compare", description="Contenders x seeds, and which is worth it.")
    found.add_argument("job", choices=["run", "report", "search"], help="search: settings first, equal trials for all")
    found.add_argument("file", type=Path, help="comparison file, such as configs/compare/movielens.yaml")
    found.add_argument("--data", type=Path, help="prepared folder instead of the file's")
    found.add_argument("--store", type=Path, default=Path("runs"), help="folder of runs; done ones are skipped")
    found.add_argument("--jobs", type=whole_number(1), help="runs at a time (1)")
    found.add_argument("--threads", type=whole_number(1), help="threads of each run (1)")
    found.add_argument("--trials", type=whole_number(1), help=f"of each contender, for search ({_TRIALS})")
    found.add_argument(
        "--as-written", action="store_true", help="report the file's own settings, although a search found others"
    )
    found.add_argument(
        "--out", type=Path, help="folder for table.md, summaries.parquet, runs.parquet, pareto.png and report.html"
    )
    found.add_argument(
        "--update",
        type=Path,
        nargs="+",
        default=[],
        metavar="PAGE",
        help="Markdown whose table, between marks, is replaced",
    )
    return found


def _check_use(chosen: argparse.Namespace) -> None:
    """Refuse what the job does nothing with."""
    for name, jobs in (("jobs", ("run", "search")), ("threads", ("run", "search")), ("trials", ("search",))):
        if getattr(chosen, name) is not None and chosen.job not in jobs:
            raise ValueError(f"--{name} {getattr(chosen, name)} is for compare {' and '.join(jobs)}; leave it out.")
    if chosen.as_written and chosen.job != "report":
        raise ValueError("--as-written is for compare report; leave it out.")


def _check_places(chosen: argparse.Namespace, name: str) -> None:
    """Refuse places where no report can go before there are runs to report, which may take days."""
    if chosen.out is not None and chosen.out.exists() and not chosen.out.is_dir():
        raise ValueError(f"--out '{chosen.out}' is a file; give a folder.")
    for page in chosen.update:
        marked(page, name)


def report_of(comparison: Comparison, store: RunStore) -> ComparisonReport:
    """What the store knows of a comparison.

    Raises:
        ValueError: if no run is finished.
    """
    summaries = summarize(comparison, store)
    failed = failures(comparison, store)
    if not summaries:
        reasons = "".join(f"\n  {run}: {error}" for run, error in failed.items())
        raise ValueError(f"{store.folder} has no finished run of '{comparison.name}'.{reasons}")
    return ComparisonReport(
        name=comparison.name,
        metric=comparison.metric,
        mode=comparison.mode,
        summaries=summaries,
        failed=failed,
        missing=missing(comparison, store),
        runs=run_rows(comparison, store),
        found={contender.name: contender.found for contender in comparison.contenders if contender.found is not None},
        left_out=comparison.left_out,
        near_best=comparison.near_best,
    )


def show(report: ComparisonReport) -> None:
    """Print the table."""
    view = Table(title=report.name, title_justify="left", caption="* on the Pareto front", caption_justify="left")
    for number, heading in enumerate(report.header()):
        view.add_column(heading, justify="right" if number else "left")
    for row in report.cells(star=" *"):
        view.add_row(*row)
    screen = console(width=150)
    screen.print(view)
    for name, words in report.settings().items():
        screen.print(f"found by search, {name}: {words}")
    for run, error in report.failed.items():
        screen.print(f"FAILED {run}: {error}")
    if report.missing:
        screen.print(report.not_run())
