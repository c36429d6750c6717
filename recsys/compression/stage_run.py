"""One training run that belongs to a stage: it goes on where it was stopped, and is not repeated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from recsys.configuration.lightning_cli import RecsysCLI
from recsys.configuration.stops import codes_of_signals

MODEL, LAST = "model.ckpt", "last.ckpt"
_DONE = "done.json"


class StageCheckpoint(ModelCheckpoint):
    """Keeps where a stage is, after each epoch, whatever else is kept by callbacks of the config."""


class StartFrom(Callback):
    """Begins a run with given weights; it is not for a run that goes on, whose weights are there before this is called.

    Args:
        state: of the task.
    """

    def __init__(self, state: Mapping[str, torch.Tensor]) -> None:
        self._state = state

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Load the weights."""
        pl_module.load_state_dict(self._state)


def check_run(trainer: Trainer) -> None:
    """Refuse a run that would leave no checkpoint to go on with.

    Raises:
        ValueError: naming the setting.
    """
    if getattr(trainer, "fast_dev_run", False):
        raise ValueError(
            "trainer.fast_dev_run leaves no checkpoint, which the next step begins with; leave it out, and give "
            "trainer.max_epochs: 1 and trainer.limit_train_batches for a short run."
        )


def fit(command: Sequence[str], folder: Path, state: Mapping[str, torch.Tensor] | None = None) -> dict[str, Any]:
    """Fit in a folder, with logs and checkpoints there; what is done is not done again.

    Args:
        command: -c CONFIG and overrides.
        folder: of the stage; its model.ckpt is the checkpoint that the config's callbacks call the best.
        state: weights to begin with, instead of drawn ones.

    Returns: the seed of the run, and the metrics that were logged last.

    Raises:
        ValueError: if the run leaves no checkpoint.
    """
    if is_done(folder):
        done: dict[str, Any] = json.loads((folder / _DONE).read_text())
        return done
    cli = RecsysCLI.launch([*command, f"--trainer.default_root_dir={folder}"], run=False)
    check_run(cli.trainer)
    seed, trainer = torch.initial_seed(), cli.trainer
    resumed = folder / LAST
    if state is not None and not resumed.is_file():
        trainer.callbacks.insert(0, StartFrom(state))  # type: ignore[attr-defined]
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            # Of its own, not of the logger's version, which is another when the run goes on.
            callback.dirpath = str(folder / "checkpoints")
    trainer.callbacks.append(  # type: ignore[attr-defined]
        StageCheckpoint(folder, filename=Path(LAST).stem, every_n_epochs=1, enable_version_counter=False)
    )
    with codes_of_signals():
        trainer.fit(cli.model, cli.datamodule, ckpt_path=resumed if resumed.is_file() else None)
    if trainer.interrupted:
        raise KeyboardInterrupt
    chosen = trainer.checkpoint_callback
    best = getattr(chosen, "best_model_path", "") or str(resumed)
    if not Path(best).exists():
        raise ValueError(
            f"the run in '{folder}' ended before its first epoch had, with nothing to go on with; give it more of "
            "trainer.max_epochs, max_steps or max_time."
        )
    publish(Path(best), folder / MODEL)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    found = {"seed": seed, "metrics": metrics, "epochs": trainer.current_epoch}
    write_json(folder / _DONE, found)
    return found


def is_done(folder: Path) -> bool:
    """Whether the run of a folder has ended."""
    return (folder / _DONE).is_file()


def publish(source: Path, target: Path) -> None:
    """Copy a file beside its new place, then put it there."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.copyfile(source, partial)
    partial.replace(target)


def write_json(path: Path, content: object) -> None:
    """Write a file beside its place, then put it there."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write a file beside its place, then put it there."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(content, encoding="utf-8")
    partial.replace(path)
