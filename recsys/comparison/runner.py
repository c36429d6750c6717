"""Runs what is not done yet, each in a process of its own, so that a crash stops nothing but itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from recsys.comparison.spec import Run
from recsys.comparison.store import RunStore

_ERROR_LINES = 30


@dataclass
class Outcome:
    """What happened to a list of runs, by contender and seed."""

    done: list[Run] = field(default_factory=list)
    skipped: list[Run] = field(default_factory=list)
    failed: list[Run] = field(default_factory=list)


def execute(runs: Sequence[Run], store: RunStore, num_jobs: int = 1, num_threads: int = 1) -> Outcome:
    """Run all that have no result, `num_jobs` at a time; runs that failed before are tried again."""
    outcome = Outcome()
    waiting: dict[str, Run] = {}
    for run in runs:
        if store.result(run) is None:
            waiting.setdefault(run.key, run)
        else:
            outcome.skipped.append(run)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar, ThreadPoolExecutor(num_jobs) as pool:
        task = bar.add_task("runs", total=len(waiting))
        futures = {pool.submit(_execute_one, run, store, num_threads): run for run in waiting.values()}
        try:
            for future in as_completed(futures):
                run = futures[future]
                (outcome.done if future.result() else outcome.failed).append(run)
                bar.console.print(_line(run, store))
                bar.advance(task)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return outcome


def _execute_one(run: Run, store: RunStore, num_threads: int) -> bool:
    folder = store.begin(run)
    # What a killed run left would be mistaken for this one's checkpoints.
    for stale in (folder / "lightning_logs", folder / "checkpoints"):
        shutil.rmtree(stale, ignore_errors=True)
    with (folder / "log.txt").open("w") as log:
        command = [sys.executable, "-m", "recsys.comparison.worker", str(folder), str(num_threads)]
        # Threads that spin while they wait slow down the runs beside this one.
        environment = {"OMP_WAIT_POLICY": "passive", **os.environ, "OMP_NUM_THREADS": str(num_threads)}
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False).returncode
    if store.result(run) is not None:
        _drop_checkpoints(folder)
        return True
    last = (folder / "log.txt").read_text(errors="replace").splitlines()[-_ERROR_LINES:]
    reason = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    (folder / "error.txt").write_text("\n".join([f"{reason}; the end of log.txt:", *last]) + "\n")
    return False


def _drop_checkpoints(folder: Path) -> None:
    """The result is kept, the weights are not: a comparison of large tables would fill the disk."""
    for path in folder.rglob("checkpoints"):
        shutil.rmtree(path, ignore_errors=True)


def _line(run: Run, store: RunStore) -> str:
    result = store.result(run)
    if result is None:
        return f"FAILED {run.contender}, seed {run.seed}: see {store.path(run) / 'error.txt'}"
    metric = result.test.get(run.metric, float("nan"))
    return f"{run.contender}, seed {run.seed}: test {run.metric} {metric:.4f}, val {result.val:.4f}"
