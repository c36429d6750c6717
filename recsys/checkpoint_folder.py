"""A checkpoint as a folder that all processes write together, each its part, and that is whole or not there at all.

    last.ckpt/
        current        names the folder below that is whole
        <name>/        *.safetensors from torch.distributed.checkpoint: tensors, in parts
            rest.pt    everything that is not a tensor, read with weights_only

`current` is replaced in one step when all parts are on disk: a run killed while it saves leaves the checkpoint that was
there before. Nothing that is read is ever executed.
"""

from __future__ import annotations

import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_CURRENT, _REST = "current", "rest.pt"
_PATHS = "paths of tensors"
_STATES = "optimizer_states"
"""The one entry of Lightning's checkpoints that holds tensors in a list."""

Path_ = tuple[Any, ...]
"""Keys that lead from a checkpoint to one of its tensors."""


def is_folder(path: str | Path) -> bool:
    """Whether a checkpoint is a folder of this kind."""
    return (Path(path) / _CURRENT).is_file()


def write(path: str | Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint; all processes of the default group, if there is one, must call this.

    Args:
        path: the folder; one that exists is replaced.
        checkpoint: plain values, tensors that are equal on all processes, and ShardedTensors.

    Raises:
        ValueError: if `path` is a file.
    """
    folder = Path(path)
    if folder.is_file():
        raise ValueError(f"checkpoint '{path}' is a file; give another path or remove it.")
    name = _agree(f"part-{uuid.uuid4().hex[:8]}")
    rest, tensors = _split(checkpoint)
    if _is_first():
        (folder / name).mkdir(parents=True)
    _barrier()
    _save_tensors(folder / name, {_name(keys): value for keys, value in tensors.items()})
    if _is_first():
        torch.save({**rest, _PATHS: [list(keys) for keys in tensors]}, folder / name / _REST)
        _publish(folder, name)
    _barrier()


def read_rest(path: str | Path) -> dict[str, Any]:
    """Everything of a checkpoint but its tensors.

    Raises:
        ValueError: if the folder is not a whole checkpoint.
    """
    rest: dict[str, Any] = _load_rest(_current(path))
    rest.pop(_PATHS)
    return rest


def read(path: str | Path, target_of: Callable[[Path_], Any] | None = None) -> dict[str, Any]:
    """A checkpoint; with ShardedTensors as targets each process reads its part, and all must call this.

    Args:
        path: the folder.
        target_of: for the keys that lead to a tensor, where its values go: a tensor or a ShardedTensor of the saved
            shape; None makes room for all of it, which also happens without this argument.

    Raises:
        ValueError: if the folder is not a whole checkpoint.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    folder = _current(path)
    rest = _load_rest(folder)
    reader = HuggingFaceStorageReader(str(folder))
    saved = reader.read_metadata().state_dict_metadata
    tensors: dict[Path_, Any] = {}
    for keys in (tuple(each) for each in rest.pop(_PATHS)):
        metadata = saved.get(_name(keys))
        if not isinstance(metadata, TensorStorageMetadata):
            raise ValueError(f"checkpoint '{path}' lacks a part: {_name(keys)} is in none of its files.")
        target = target_of(keys) if target_of is not None else None
        tensors[keys] = torch.empty(metadata.size, dtype=metadata.properties.dtype) if target is None else target
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load({_name(keys): value for keys, value in tensors.items()}, storage_reader=reader, no_dist=not _has_group())
    for keys, value in tensors.items():
        _insert(rest, keys, value)
    if _STATES in rest:
        rest[_STATES] = list(rest[_STATES].values())
    return rest


def _split(checkpoint: Mapping[str, Any]) -> tuple[dict[str, Any], dict[Path_, Any]]:
    """The checkpoint without its tensors, and those by their keys; numbers in tensors stay where they are."""
    tensors: dict[Path_, Any] = {}

    def walk(value: Any, keys: Path_) -> Any:
        if isinstance(value, Mapping):
            return {key: walk(each, (*keys, key)) for key, each in value.items() if not take(each, (*keys, key))}
        return value

    def take(value: Any, keys: Path_) -> bool:
        is_tensor = hasattr(value, "local_shards") or (isinstance(value, Tensor) and value.dim() and value.numel())
        if is_tensor:
            tensors[keys] = value
        return bool(is_tensor)

    whole = dict(checkpoint)
    if _STATES in whole:
        whole[_STATES] = dict(enumerate(whole[_STATES]))
    return walk(whole, ()), tensors


def _insert(tree: dict[str, Any], keys: Path_, value: Any) -> None:
    for key in keys[:-1]:
        tree = tree.setdefault(key, {})
    tree[keys[-1]] = value


def _name(keys: Path_) -> str:
    return "/".join(map(str, keys))


def _save_tensors(folder: Path, tensors: Mapping[str, Any]) -> None:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    # A file for each sharded matrix: a file's bytes are copied once before they are written.
    files: dict[str, int] = {}
    for name, value in tensors.items():
        files[name] = max(files.values(), default=1) + 1 if hasattr(value, "local_shards") else 1
    writer = HuggingFaceStorageWriter(str(folder), fqn_to_index_mapping=files, save_distributed=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        save(dict(tensors), storage_writer=writer, no_dist=not _has_group())


def _publish(folder: Path, name: str) -> None:
    """Make a finished part the checkpoint, then drop what it replaces."""
    partial = folder / f"{_CURRENT}.{name}"
    with partial.open("w", encoding="utf-8") as file:
        file.write(name)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / _CURRENT)
    for other in folder.iterdir():
        if other.name not in (name, _CURRENT):
            shutil.rmtree(other) if other.is_dir() else other.unlink()


def _current(path: str | Path) -> Path:
    if not is_folder(path):
        raise ValueError(f"checkpoint '{path}' is not a whole checkpoint: it has no file '{_CURRENT}'.")
    name = (Path(path) / _CURRENT).read_text(encoding="utf-8")
    folder = Path(path) / name
    if Path(name).name != name or not (folder / _REST).is_file():
        raise ValueError(f"checkpoint '{path}' is damaged: '{name}' is not a folder in it.")
    return folder


def _load_rest(folder: Path) -> Any:
    try:
        return torch.load(folder / _REST, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(
            f"checkpoint '{folder}' holds more than tensors and plain values, and is not loaded because that could run "
            f"code: {str(error).splitlines()[0]}"
        ) from error


def _has_group() -> bool:
    return dist.is_available() and dist.is_initialized()


def _is_first() -> bool:
    return not _has_group() or dist.get_rank() == 0


def _barrier() -> None:
    if _has_group():
        dist.barrier()


def _agree(name: str) -> str:
    """The first process' name, on all of them."""
    if not _has_group():
        return name
    names = [name]
    dist.broadcast_object_list(names, src=0)
    return names[0]
