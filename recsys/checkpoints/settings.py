"""The settings that make a run what it is, kept with its checkpoints: a run that goes on with others says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SETTINGS = "settings"
"""The entry of a checkpoint that holds them, by their dotted names in a config."""
NUM_PROCESSES = "number of processes"
"""The one among them that no config says."""

_OF_TRAINER = (
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "limit_train_batches",
    "overfit_batches",
)
_OF_SCHEDULE = ("max_epochs", "max_steps")
_OF_NO_MATTER = (
    *("data.path", "data.num_threads", "data.eval_batch_size", "data.predict_split", "model.schema"),
    *("model.eval_chunk_items", "model.num_predictions", "model.compile_model", "model.capture_model", "model.lookup"),
)
"""Where data are (their identity is compared elsewhere), and what changes speed or reports alone."""
_CALLBACKS = ("EarlyStopping", "recsys.")
_SHOWN = 8


def run_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name, `data.batch_size`: plain values of all that decides what a run learns.

    Args:
        config: of a command, with the keys seed_everything, model, data and trainer.
    """
    trainer = config.get("trainer") or {}
    model = config.get("model") or {}
    decays = (model.get("init_args") or {}).get("final_learning_rate_fraction", 1) != 1
    chosen: dict[str, Any] = {
        "seed_everything": config.get("seed_everything"),
        "model": model,
        "data": config.get("data") or {},
        "trainer": {name: trainer.get(name) for name in (*_OF_TRAINER, *(_OF_SCHEDULE if decays else ()))},
    }
    for callback in trainer.get("callbacks") or ():
        name = str(callback["class_path"])
        if any(part in name for part in _CALLBACKS):
            chosen["trainer"][name.rpartition(".")[2]] = callback.get("init_args") or {}
    found = dict(_flat("", chosen))
    return {
        name: value
        for name, value in found.items()
        if not any(name == each or name.startswith(f"{each}.") for each in _OF_NO_MATTER)
    }


def changed_settings(before: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """`data.batch_size: 100 before, 200 now` for each that differs; what is below another class is not told."""
    names = [name for name in {**before, **here} if before.get(name) != here.get(name)]
    classes = [name for name in names if _is_class(before.get(name)) or _is_class(here.get(name))]
    told = [name for name in names if not any(name.startswith(f"{each}.") for each in classes)]
    return [f"{name}: {_shown(before.get(name))} before, {_shown(here.get(name))} now" for name in told]


def in_words(changed: Sequence[str]) -> str:
    """A few of them in a line, and how many more there are."""
    more = f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return "; ".join(changed[:_SHOWN]) + more


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A class is its import path under its own name, and what it is given below."""
    if isinstance(value, Mapping) and "class_path" in value:
        yield name, str(value["class_path"])
        yield from _flat(name, value.get("init_args") or {})
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), entry)
    elif isinstance(value, list | tuple) and any(isinstance(entry, Mapping) for entry in value):
        for number, entry in enumerate(value):
            yield from _flat(f"{name}.{number}", entry)
    else:
        yield name, _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _is_class(value: Any) -> bool:
    return isinstance(value, str) and value.rpartition(".")[2][:1].isupper() and "." in value


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    return value.rpartition(".")[2] if _is_class(value) else str(value)
