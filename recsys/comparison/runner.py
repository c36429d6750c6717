"""Runs what is not done yet, each in a process of its own, so that a crash stops nothing but itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from recsys.comparison.lock import Stopped, held, name_owner
from recsys.comparison.spec import Run
from recsys.comparison.store import RunStore

_ERROR_LINES = 30
_WORKER = f"""
import sys
sys.path.append({str(Path(__file__).absolute().parents[2])!r})
from recsys.comparison.worker import work
work(*sys.argv[1:])
"""
"""Run with -P: a user's own lightning.py or statistics.py in the working folder is not ours to import."""
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 10.0  # from asking a worker to end to killing it


@dataclass
class Outcome:
    """What happened to a list of runs.

    Args:
        done: finished now, here or in another process.
        skipped: had a result before.
        failed: ended with an error, which the store keeps.
    """

    done: list[Run] = field(default_factory=list)
    skipped: list[Run] = field(default_factory=list)
    failed: list[Run] = field(default_factory=list)


def execute(runs: Sequence[Run], store: RunStore, num_jobs: int = 1, num_threads: int = 1) -> Outcome:
    """Run all that have no result, `num_jobs` at a time; runs that failed before are tried again.

    Raises:
        KeyboardInterrupt: or Terminated, after the workers have ended; their runs stay unfinished, and are not marked
            as failed.
    """
    outcome = Outcome()
    waiting: dict[str, Run] = {}
    for run in runs:
        if store.result(run) is None:
            waiting.setdefault(run.key, run)
        else:
            outcome.skipped.append(run)
    stop = Event()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar, ThreadPoolExecutor(num_jobs) as pool:
        task = bar.add_task("runs", total=len(waiting))
        say = partial(bar.console.print, markup=False, highlight=False, soft_wrap=True)
        futures = {pool.submit(_execute_one, run, store, num_threads, stop, say): run for run in waiting.values()}
        try:
            for future in as_completed(futures):
                run = futures[future]
                (outcome.done if future.result() else outcome.failed).append(run)
                say(_line(run, store))
                bar.advance(task)
        except (KeyboardInterrupt, Stopped) as error:
            stop.set()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                raise
            raise KeyboardInterrupt from error
    return outcome


def _execute_one(run: Run, store: RunStore, num_threads: int, stop: Event, say: Callable[[str], object]) -> bool:
    """Whether the run has a result.

    Raises:
        Stopped: if the user ended the comparison before.
    """
    folder = store.path(run)
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder, stop, say) as lock:
        if store.result(run) is not None:  # of the process that had the lock
            return True
        store.begin(run)
        # What a killed run left would be mistaken for this one's checkpoints.
        for stale in (folder / "lightning_logs", folder / "checkpoints"):
            shutil.rmtree(stale, ignore_errors=True)
        code = _work(folder, num_threads, lock, stop)
    if store.result(run) is not None:
        return True
    if stop.is_set() or code == -signal.SIGINT:
        raise Stopped
    last = (folder / "log.txt").read_text(errors="replace").splitlines()[-_ERROR_LINES:]
    reason = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    (folder / "error.txt").write_text("\n".join([f"{reason}; the end of log.txt:", *last]) + "\n")
    return False


def _work(folder: Path, num_threads: int, lock: int, stop: Event) -> int:
    """The exit code of the worker process, which inherits the lock; it is ended when `stop` is set."""
    with (folder / "log.txt").open("w") as log:
        command = [sys.executable, "-P", "-c", _WORKER, str(folder), str(num_threads)]
        # Threads that spin while they wait slow down the runs beside this one.
        environment = {"OMP_WAIT_POLICY": "passive", **os.environ, "OMP_NUM_THREADS": str(num_threads)}
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, pass_fds=[lock])
        name_owner(lock, process.pid)
        while process.poll() is None and not stop.wait(_POLL_SECONDS):
            pass
        process.terminate()  # nothing, if it has ended
        try:
            return process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _line(run: Run, store: RunStore) -> str:
    result = store.result(run)
    if result is None:
        return f"FAILED {run.contender}, seed {run.seed}: see {store.path(run) / 'error.txt'}"
    metric = result.test.get(run.metric, float("nan"))
    return f"{run.contender}, seed {run.seed}: test {run.metric} {metric:.4f}, val {result.val:.4f}"
