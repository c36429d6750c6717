"""A checkpoint as two: its tensors by the keys that lead to them, and the rest."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

Keys = tuple[Any, ...]
"""Keys that lead from a checkpoint to one of its tensors."""

_STATES = "optimizer_states"
"""The one entry of Lightning's checkpoints that holds tensors in a list."""


def split(checkpoint: Mapping[str, Any]) -> tuple[dict[str, Any], dict[Keys, Any]]:
    """The checkpoint without its tensors, and those by their keys; numbers in tensors stay where they are."""
    tensors: dict[Keys, Any] = {}

    def walk(value: Any, keys: Keys) -> Any:
        if isinstance(value, Mapping):
            return {key: walk(each, (*keys, key)) for key, each in value.items() if not take(each, (*keys, key))}
        return value

    def take(value: Any, keys: Keys) -> bool:
        is_tensor = hasattr(value, "local_shards") or (isinstance(value, Tensor) and value.dim() and value.numel())
        if is_tensor:
            tensors[keys] = value
        return bool(is_tensor)

    whole = dict(checkpoint)
    if _STATES in whole:
        whole[_STATES] = dict(enumerate(whole[_STATES]))
    return walk(whole, ()), tensors


def join(rest: dict[str, Any], tensors: Mapping[Keys, Any]) -> dict[str, Any]:
    """What `split` took apart; `rest` becomes it."""
    for keys, value in tensors.items():
        _insert(rest, keys, value)
    if _STATES in rest:
        rest[_STATES] = list(rest[_STATES].values())
    return rest


def _insert(tree: dict[str, Any], keys: Keys, value: Any) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = value


def joined_name(keys: Keys) -> str:
    """What a tensor is called in the files."""
    return "/".join(map(str, keys))


def check_readable(rest: Mapping[str, Any]) -> None:
    """Find what `weights_only` would refuse while the checkpoint before is still there.

    Raises:
        ValueError: naming the entries.
    """
    bad = [key for key, value in rest.items() if not _is_readable(value)]
    if bad:
        raise ValueError(
            f"the checkpoint's entries {bad} hold more than tensors and plain values, which could not be loaded again; "
            "what a callback or task adds to a checkpoint must be numbers, strings, lists and dicts."
        )


def _is_readable(value: Any) -> bool:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    try:
        torch.load(buffer, weights_only=True)
    except UnpicklingError:
        return False
    return True
