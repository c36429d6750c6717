"""From runs to contenders: means and spreads over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, median, stdev
from typing import Any

from recsys.comparison.near_best import all_runs
from recsys.comparison.spec import Comparison, Run
from recsys.comparison.store import Result, RunStore


@dataclass(frozen=True)
class Summary:
    """A contender over its seeds.

    Args:
        contender: its name.
        num_seeds: runs that finished.
        test: mean of the compared metric on test.
        spread: its standard deviation over seeds; NaN with one.
        val: mean on validation.
        log_loss: mean on test; NaN for tasks without one.
        table_bytes: of the tables while serving.
        training_bytes: with the rows' optimizer state.
        samples_per_second: median over seeds.
        peak_memory_bytes: largest over seeds.
        published: the number of a paper, or None.
        source: where it is from.
    """

    contender: str
    num_seeds: int
    test: float
    spread: float
    val: float
    log_loss: float
    table_bytes: int
    training_bytes: int
    samples_per_second: float
    peak_memory_bytes: int
    published: float | None = None
    source: str = ""


def summarize(comparison: Comparison, store: RunStore) -> list[Summary]:
    """Every contender that has a finished run, in the order of the comparison."""
    done: dict[str, list[Result]] = {contender.name: [] for contender in comparison.contenders}
    for run in all_runs(comparison, store):
        if (result := store.result(run)) is not None:
            done[run.contender].append(result)
    return [_summary(comparison, name, results) for name, results in done.items() if results]


def run_rows(comparison: Comparison, store: RunStore) -> list[dict[str, Any]]:
    """A row for every run, finished or not: contender, seed, status, error, val, test/METRIC, bytes, speed, seconds.

    The status is done, failed or not run; numbers that a run does not have are None.
    """
    runs = all_runs(comparison, store)
    names = sorted({name for run in runs if (done := store.result(run)) for name in done.test})
    return [_run_row(run, store.result(run), store.error(run), names) for run in runs]


def _run_row(run: Run, result: Result | None, error: str | None, names: Sequence[str]) -> dict[str, Any]:
    status = "done" if result is not None else "failed" if error is not None else "not run"
    row: dict[str, Any] = {
        "contender": run.contender,
        "seed": run.seed,
        "status": status,
        "error": error if status == "failed" else None,
        "key": run.key,
        "val": result.val if result else None,
    }
    row |= {f"test/{name}": result.test.get(name) if result else None for name in names}
    measured = ("table_bytes", "training_bytes", "samples_per_second", "peak_memory_bytes", "seconds")
    return row | {name: getattr(result, name) if result else None for name in measured}


def failures(comparison: Comparison, store: RunStore) -> dict[str, str]:
    """The last line of every failed run's error, by contender and seed."""
    found = {}
    for run in all_runs(comparison, store):
        error = store.error(run)
        if error is not None and store.result(run) is None:
            found[f"{run.contender}, seed {run.seed}"] = error.strip().splitlines()[-1]
    return found


def missing(comparison: Comparison, store: RunStore) -> list[str]:
    """Runs that have neither a result nor an error."""
    runs = all_runs(comparison, store)
    return [f"{r.contender}, seed {r.seed}" for r in runs if store.result(r) is None and store.error(r) is None]


def _summary(comparison: Comparison, name: str, results: list[Result]) -> Summary:
    tested = [result.test[comparison.metric] for result in results]
    published = comparison.published.get(name)
    return Summary(
        contender=name,
        num_seeds=len(results),
        test=mean(tested),
        spread=stdev(tested) if len(tested) > 1 else float("nan"),
        val=mean(result.val for result in results),
        log_loss=_mean(result.test.get("log_loss", float("nan")) for result in results),
        table_bytes=results[0].table_bytes,
        training_bytes=results[0].training_bytes,
        samples_per_second=median(result.samples_per_second for result in results),
        peak_memory_bytes=max(result.peak_memory_bytes for result in results),
        published=None if published is None else published.value,
        source="" if published is None else published.source,
    )


def _mean(values: Iterable[float]) -> float:
    return mean(values)
