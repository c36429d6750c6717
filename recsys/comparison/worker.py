"""One run, in a process of its own, which `recsys.comparison.runner` starts."""

from __future__ import annotations

import re
import shutil
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter
from traceback import print_exc

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from recsys.comparison.arguments import arguments_of
from recsys.comparison.metric_check import check_logged
from recsys.comparison.spec import Run
from recsys.comparison.store import Result, read_run, write_whole
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.configuration.suggestions import explain
from recsys.description.optimizer_state import tensor_bytes
from recsys.tasks.summary import totals
from recsys.tasks.throughput import Throughput


def main(folder: Path, num_threads: int) -> None:
    """Train, test at the best validation epoch, and leave result.json."""
    torch.set_num_threads(num_threads)
    run = read_run(folder)
    write_whole(folder / "result.json", asdict(train(run, folder)))
    # The result is kept, the weights are not: a comparison of large tables would fill the disk.
    for path in folder.rglob("checkpoints"):
        shutil.rmtree(path, ignore_errors=True)


def train(run: Run, folder: Path) -> Result:
    """The result of a run.

    Raises:
        ValueError: before any training, if the config has no ModelCheckpoint that watches the compared metric, or if
            the task does not log it.
    """
    started = perf_counter()
    cli = RecsysCLI.launch(arguments_of(run, folder), run=False)
    trainer = cli.trainer
    best = _checkpoints(trainer, run)
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # set by a connector
    callbacks.append(_MetricCheck(run.metric))
    trainer.fit(cli.model, datamodule=cli.datamodule)
    if best.best_model_score is None:
        raise ValueError(f"no epoch had a val/{run.metric}: trainer.max_epochs or the validation split is empty.")
    (tested,) = trainer.test(cli.model, datamodule=cli.datamodule, ckpt_path=best.best_model_path, verbose=False)
    total = totals(cli.model.collection)
    state = total.state_bytes + _dense_state_bytes(cli)
    rates = next((callback.rates for callback in callbacks if isinstance(callback, Throughput)), [])
    return Result(
        contender=run.contender,
        seed=run.seed,
        val=float(best.best_model_score),
        test={name.removeprefix("test/"): float(value) for name, value in tested.items()},
        table_bytes=total.served_bytes,
        training_bytes=total.stored_bytes + state,
        samples_per_second=median(rates) if rates else float("nan"),
        peak_memory_bytes=peak_memory_bytes(),
        seconds=perf_counter() - started,
    )


def peak_memory_bytes() -> int:
    """The most memory that this program has had resident, from Linux's VmHWM.

    getrusage's ru_maxrss would count the process that started this one, if that was larger: it outlives exec.
    """
    (kib,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kib) * 1024


class _MetricCheck(Callback):
    """Ends the run after the few batches of validation before training, if they do not log the metric."""

    def __init__(self, metric: str) -> None:
        self._metric = metric

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_logged(self._metric, trainer.callback_metrics)


def _checkpoints(trainer: Trainer, run: Run) -> ModelCheckpoint:
    watched = f"val/{run.metric}"
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor == watched and callback.mode == run.mode:
            return callback
    raise ValueError(f"configs: need a ModelCheckpoint with monitor {watched} and mode {run.mode}.")


def _dense_state_bytes(cli: RecsysCLI) -> int:
    """Bytes that the dense optimizers keep for rows that take dense gradients and for the tables' own parameters."""
    parameters = list(cli.model.collection.parameters())
    states = [optimizer.state for optimizer in cli.trainer.optimizers]
    return sum(tensor_bytes(state[each].values()) for state in states for each in parameters if each in state)


def work(folder: str, num_threads: str) -> None:
    """Do a run as a process of its own; the last line of what it prints says what went wrong."""
    # Ctrl-C reaches every process of the terminal; the one that started this run decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        main(Path(folder), int(num_threads))
    except Exception as error:
        print_exc()
        sys.exit(f"{type(error).__name__}: {' '.join(explain(str(error)).split())}")
