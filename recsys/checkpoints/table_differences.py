"""How two descriptions of a collection differ, table by table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from recsys.checkpoints.reading import KEY
from recsys.checkpoints.table_description import describe_collection
from recsys.tables import TableCollection


def check_tables(checkpoint: Mapping[str, Any], collection: TableCollection) -> None:
    """Name every table that differs from those a checkpoint was written with.

    Args:
        checkpoint: with the description of its tables; one without is let pass.
        collection: the one at hand.

    Raises:
        ValueError: if one differs, saying how.
    """
    if KEY in checkpoint:
        found = differences(checkpoint[KEY], describe_collection(collection))
        if found:
            raise ValueError("the checkpoint has other tables than this config:\n  " + "\n  ".join(found))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One line for each table, feature or matrix that differs, saying how; empty if the descriptions agree.

    Args:
        before: what `table_description.describe_collection` gave for the saved collection.
        after: the same for the collection at hand.
    """
    features = [{entry["name"]: entry for entry in side["features"]} for side in (before, after)]
    found = _of_kind("feature", features[0], features[1])
    if not found and list(features[0]) != list(features[1]):
        # A model reads the features' vectors by position.
        found = [
            f"features are in the order {', '.join(features[0])} in the checkpoint and {', '.join(features[1])} here"
        ]
    found += _of_kind("table", before["tables"], after["tables"])
    return found + _of_kind("physical table", before["physical_tables"], after["physical_tables"])


def _of_kind(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    lines = [f"{kind} '{name}' is only in the checkpoint" for name in before if name not in after]
    lines += [f"{kind} '{name}' is not in the checkpoint" for name in after if name not in before]
    for name in before:
        if name in after:
            theirs, ours = _flat(before[name]), _flat(after[name])
            changed = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
            parts = [f"{key} is {theirs.get(key)!r} in the checkpoint and {ours.get(key)!r} here" for key in changed]
            lines += [f"{kind} '{name}': {', '.join(parts)}"] if parts else []
    return lines


def _flat(entry: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in entry.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def check_state(owner: str, state: object) -> None:
    """Refuse what is no state to load: a path, or a whole checkpoint.

    Raises:
        ValueError: naming what was given, and what to give.
    """
    if not isinstance(state, Mapping):
        raise ValueError(
            f"{owner}: state_dict must be a mapping of names to tensors, as a checkpoint's entry 'state_dict', got "
            f"{type(state).__name__}."
        )
    if isinstance(state.get("state_dict"), Mapping):
        raise ValueError(f"{owner}: state_dict is a whole checkpoint; give its entry 'state_dict'.")


def state_differences(own: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """What a checkpoint lacks, what it has beyond what is known here, and what is of another shape there."""
    lacking = [each for each in own if each not in given]
    beyond = [each for each in given if each not in own]
    for words, names in (("it lacks", lacking), ("it has", beyond)):
        if names:
            yield f"{words} {names[0]}{_and_more(names)}"
    resized = [name for name in own if name in given and _shape(own[name]) != _shape(given[name])]
    if resized:
        name = resized[0]
        yield f"{name} is {_shape(given[name])} there and {_shape(own[name])} here{_and_more(resized)}"


def _shape(value: Any) -> list[int] | None:
    return list(value.shape) if isinstance(value, torch.Tensor) else None


def _and_more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
