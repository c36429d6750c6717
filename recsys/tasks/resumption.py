"""What a resumed run owes to the one before: the validation that was due, and the best checkpoint."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from recsys.checkpoints import file as checkpoint_file
from recsys.checkpoints import folder as checkpoint_folder

OWED = "validation_owed"
"""The entry of a checkpoint that says whether it was saved between a step and the validation due after it."""
OPTIMIZERS = "dense_optimizers"
"""The entry of a checkpoint that says which optimizers its states are of."""


def optimizer_shape(optimizer: Any) -> dict[str, Any]:
    """What must agree for a state to be loaded: class, and parameters by group."""
    whole = getattr(optimizer, "optimizer", optimizer)
    return {"class": type(whole).__name__, "groups": [len(group["params"]) for group in whole.param_groups]}


def check_optimizer(optimizer: Any, before: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to go on with the state of another optimizer.

    Args:
        optimizer: of this run.
        before: shapes of the optimizers of the run before; empty if there was none.

    Raises:
        ValueError: naming both.
    """
    here = optimizer_shape(optimizer)
    if before and [dict(each) for each in before] != [here]:
        raise ValueError(
            f"the checkpoint has the state of {' and '.join(map(_in_words, before))}, and this config's optimizer is "
            f"{_in_words(here)}: give the same optimizer and table_optimizer to go on."
        )


def _in_words(shape: Mapping[str, Any]) -> str:
    return f"{shape['class']} of {' + '.join(map(str, shape['groups']))} parameters"


def owes_validation(trainer: Trainer, last_validated_step: int) -> bool:
    """Whether a validation is due after the step just done, and has not been."""
    loop = trainer.fit_loop.epoch_loop
    if trainer.state.fn != TrainerFn.FITTING or not trainer.training or last_validated_step == trainer.global_step:
        return False
    fetcher = trainer.fit_loop._data_fetcher
    return fetcher is not None and trainer.global_step > 0 and loop._should_check_val_fx(fetcher)


def leave_open(trainer: Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Note in a checkpoint that an epoch which max_steps has cut is not done, as Lightning takes it to be.

    The run that goes on from there begins with the next batch, and not with the next epoch.
    """
    batches, num_batches = trainer.fit_loop.epoch_loop.batch_progress.current, trainer.num_training_batches
    if trainer.state.fn == TrainerFn.FITTING and 0 < batches.ready < num_batches and "loops" in checkpoint:
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        epochs["processed"] = epochs["completed"]


class NothingLeft(NamedTuple):
    """A checkpoint that has done all that a run is to do.

    Args:
        said: to the user.
        owes_validation: whether the one after its last step is still to be made.
    """

    said: str
    owes_validation: bool


def nothing_left(
    path: str | Path, max_epochs: int | None, max_steps: int, check: Callable[[Mapping[str, Any]], None]
) -> NothingLeft | None:
    """What to say and do if a checkpoint has done all that a run is to do; None if there is something left to do.

    Args:
        path: of the checkpoint.
        max_epochs: of the run; None or -1 for no end.
        max_steps: of the run; -1 for no end.
        check: refuses a checkpoint of other data, which is the first thing to say.

    Raises:
        ValueError: if the checkpoint cannot be read, or is refused.
    """
    is_folder = Path(path).is_dir()
    rest = checkpoint_folder.read_rest(path) if is_folder else checkpoint_file.read_rest(path)
    try:
        num_epochs = int(rest["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
        num_steps = int(rest["global_step"])
    except (KeyError, TypeError):
        return None
    for name, done, most in (("max_epochs", num_epochs, max_epochs), ("max_steps", num_steps, max_steps)):
        if most is not None and 0 <= most <= done:
            check(rest)
            owes = bool(rest.get(OWED))
            said = (
                f"nothing to train: checkpoint '{path}' has done {num_epochs} epochs and {num_steps} steps, and "
                f"trainer.{name} is {most}; raise it to go on"
                f"{'. The validation after its last step is made up' if owes else ''}."
            )
            return NothingLeft(said, owes)
    return None


class _StopAtStart(Callback):
    """Ends a training before its first step."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called before the task makes up its validation."""
        trainer.should_stop = True


@contextmanager
def without_a_step(trainer: Trainer) -> Iterator[None]:
    """A fit in here starts and ends a training, which makes up what is owed, and takes no step.

    Lightning passes over the start of a run whose limits are reached, so there are none in the meantime.
    """
    epochs, steps, stop = trainer.fit_loop, trainer.fit_loop.epoch_loop, _StopAtStart()
    limits = epochs.min_epochs, epochs.max_epochs, steps.min_steps, steps.max_steps
    epochs.min_epochs, epochs.max_epochs, steps.min_steps, steps.max_steps = 0, -1, None, -1
    trainer.callbacks.append(stop)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        trainer.callbacks.remove(stop)  # type: ignore[attr-defined]
        epochs.min_epochs, epochs.max_epochs, steps.min_steps, steps.max_steps = limits


def validate_now(trainer: Trainer) -> None:
    """Make up a validation at the start of a resumed training."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False
    trainer.validating = True
    loop.run()
    trainer.training = True
    # The epoch to come would take it for its own, and end before it has begun.
    loop._has_run = False


def keep_best(trainer: Trainer, states: Mapping[str, Any]) -> None:
    """Bring the best checkpoints of the run before to this run's folder, where that is another one.

    Lightning would forget how good they were, and call the best since the best.

    Args:
        trainer: of the resumed run.
        states: of the callbacks of the run before.
    """
    for callback in trainer.checkpoint_callbacks:
        state = states.get(callback.state_key)
        if isinstance(callback, ModelCheckpoint) and callback.monitor is not None and isinstance(state, Mapping):
            if callback.dirpath is not None and state.get("dirpath") != callback.dirpath and state["best_k_models"]:
                _bring(trainer, callback, state)


def _bring(trainer: Trainer, callback: ModelCheckpoint, state: Mapping[str, Any]) -> None:
    folder = Path(str(callback.dirpath))
    places = {path: str(folder / Path(path).name) for path in state["best_k_models"] if Path(path).exists()}
    # Every process decides before the first one brings what they decide about.
    trainer.strategy.barrier("keep_best")
    if trainer.is_global_zero:
        for path, place in places.items():
            _link_or_copy(Path(path), Path(place))
    if state["best_model_path"] not in places:
        print(f"best checkpoint: '{state['best_model_path']}' of the run before is gone, and its score with it")
        return
    callback.best_k_models = {place: state["best_k_models"][path] for path, place in places.items()}
    callback.best_model_path = places[state["best_model_path"]]
    callback.best_model_score = state["best_model_score"]
    worst = max if callback.mode == "min" else min
    callback.kth_best_model_path = worst(callback.best_k_models, key=lambda place: float(callback.best_k_models[place]))
    callback.kth_value = callback.best_k_models[callback.kth_best_model_path]


def _link_or_copy(path: Path, place: Path) -> None:
    """Checkpoints are replaced and never changed in place, so two names for one file are two checkpoints."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        return
    if path.is_dir():
        shutil.copytree(path, place, copy_function=_link_file)
    else:
        _link_file(str(path), str(place))


def _link_file(path: str, place: str) -> None:
    try:
        os.link(path, place)
    except OSError:
        shutil.copy2(path, place)
