"""A checkpoint as a folder that all processes write together, each its part, and that is whole or not there at all.

    last.ckpt/
        current        names the folder below that is whole
        <name>/        *.safetensors from torch.distributed.checkpoint: tensors, in parts
            rest.pt    everything that is not a tensor, read with weights_only

`current` is replaced in one step when all parts are on disk: a run killed while it saves leaves the checkpoint that was
there before. Files of the user's in the folder stay. Nothing that is read is ever executed.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from recsys.checkpoints.checksums import file_checksums, verify_files
from recsys.checkpoints.errors import reading
from recsys.checkpoints.place import (
    CURRENT,
    PLAN,
    check_local,
    check_room,
    clear,
    drop_all_but,
    is_in_the_way,
    new_part,
    partial_current,
    put_in_place,
)
from recsys.checkpoints.tensors import Keys, check_readable, join, joined_name, split
from recsys.tables.sharded.first_process import first_decides, has_group, is_first

_REST = "rest.pt"
_FILE_BYTES = 1 << 30
"""Bytes of tensors, of all processes together, after which another file is begun."""
_PATHS = "paths of tensors"
_FILES = "bytes of files"
_HEADERS = "bytes and sha256 of the files' headers"
_SUMS = "checksums of tensors"
_LENGTH_BYTES = 8
"""A file of safetensors begins with the length of the header that follows."""


def is_folder(path: str | Path) -> bool:
    """Whether a checkpoint is a folder of this kind."""
    return (Path(path) / CURRENT).is_file()


def write(path: str | Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint; all processes of the default group, if there is one, must call this.

    Args:
        path: the folder; a checkpoint that is there, a folder or a file, is replaced.
        checkpoint: plain values, tensors that are equal on all processes, and ShardedTensors.

    Raises:
        ValueError: if `path` is remote or something else than a checkpoint, or an entry could not be read again.
        OSError: if a process cannot write; RuntimeError in those that wait for it. The checkpoint before stays.
    """
    check_local(path)
    folder = Path(path)
    rest, tensors = split(checkpoint)
    check_readable(rest)
    first_decides(lambda: check_room(folder))
    if first_decides(lambda: is_in_the_way(folder)):
        _write_beside(folder, rest, tensors)
    else:
        _write_parts(folder, rest, tensors)


def _write_beside(path: Path, rest: Mapping[str, Any], tensors: Mapping[Keys, Any]) -> None:
    """Write a folder, then let it take the place of a file or link."""
    # Always of the same name: what a killed run left there gives way.
    folder = path.with_name(f"{path.name}.partial")
    first_decides(lambda: check_room(folder))
    try:
        _write_parts(folder, rest, tensors)
        first_decides(lambda: put_in_place(folder, path))
    except Exception:
        if is_first():
            clear(folder)
        raise


def _write_parts(folder: Path, rest: Mapping[str, Any], tensors: Mapping[Keys, Any]) -> None:
    name = first_decides(new_part)
    try:
        first_decides(lambda: _make_room(folder, name))
        _save_tensors(folder / name, {joined_name(keys): value for keys, value in tensors.items()})
        kept = {_PATHS: [list(keys) for keys in tensors], _SUMS: file_checksums(_tensor_files(folder / name))}
        first_decides(lambda: _finish(folder, name, {**rest, **kept}))
    except Exception:
        if is_first():
            shutil.rmtree(folder / name, ignore_errors=True)
        raise


def read_rest(path: str | Path) -> dict[str, Any]:
    """Everything of a checkpoint but its tensors.

    Raises:
        ValueError: if the folder is not a whole checkpoint.
    """
    rest: dict[str, Any] = _load_rest(_current(path))
    rest.pop(_PATHS)
    rest.pop(_FILES)
    rest.pop(_HEADERS, None)
    rest.pop(_SUMS, None)
    return rest


def read(path: str | Path, target_of: Callable[[Keys], Any] | None = None) -> dict[str, Any]:
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
    _check_files(path, folder, rest)
    # Folders written before tensors had checksums have none.
    verify_files(path, folder, rest.pop(_SUMS, {}))
    reader = HuggingFaceStorageReader(str(folder))
    saved = reader.read_metadata().state_dict_metadata
    tensors: dict[Keys, Any] = {}
    for keys in (tuple(each) for each in rest.pop(_PATHS)):
        metadata = saved[joined_name(keys)]
        assert isinstance(metadata, TensorStorageMetadata)
        target = target_of(keys) if target_of is not None else None
        tensors[keys] = torch.empty(metadata.size, dtype=metadata.properties.dtype) if target is None else target
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load(
            {joined_name(keys): value for keys, value in tensors.items()},
            storage_reader=reader,
            no_dist=not has_group(),
        )
    return join(rest, tensors)


def _check_files(path: str | Path, folder: Path, rest: dict[str, Any]) -> None:
    """Find missing and damaged files, and take what was kept of them out of the rest.

    Raises:
        ValueError: naming the file.
    """
    for name, num_bytes in rest.pop(_FILES).items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != num_bytes:
            raise ValueError(
                f"checkpoint '{path}' is damaged: '{folder / name}' is missing or not {num_bytes:,} bytes."
            )
    # Folders written before headers were kept have none.
    for name, (num_bytes, wanted) in rest.pop(_HEADERS, {}).items():
        with (folder / name).open("rb") as file:
            if hashlib.sha256(file.read(num_bytes)).hexdigest() != wanted:
                raise ValueError(f"checkpoint '{path}' is damaged: the header of '{folder / name}' has changed.")


def _header(path: Path) -> tuple[int, str]:
    """Bytes and checksum of what says which tensors a file holds; of the tensors it would take reading all."""
    with path.open("rb") as file:
        length = file.read(_LENGTH_BYTES)
        header = length + file.read(int.from_bytes(length, "little"))
    return len(header), hashlib.sha256(header).hexdigest()


def _save_tensors(folder: Path, tensors: Mapping[str, Any]) -> None:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    # A file's bytes are copied once before they are written.
    files, number, num_bytes = {}, 1, 0
    for name, value in tensors.items():
        if num_bytes > _FILE_BYTES:
            number, num_bytes = number + 1, 0
        files[name] = number
        num_bytes += value.dtype.itemsize * math.prod(value.shape)
    writer = HuggingFaceStorageWriter(str(folder), fqn_to_index_mapping=files, save_distributed=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        save(dict(tensors), storage_writer=writer, no_dist=not has_group())


def _make_room(folder: Path, name: str) -> None:
    """Make the new part, and drop parts that a killed or failed run has left."""
    folder.mkdir(parents=True, exist_ok=True)
    current = (folder / CURRENT).read_text(encoding="utf-8") if is_folder(folder) else None
    drop_all_but(folder, (current, CURRENT, PLAN))
    (folder / name).mkdir()


def _tensor_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _finish(folder: Path, name: str, rest: Mapping[str, Any]) -> None:
    """Write the rest, with what tells damaged files of tensors, and make the part the checkpoint."""
    parts = sorted((folder / name).iterdir())
    files = {file.name: file.stat().st_size for file in parts}
    headers = {file.name: _header(file) for file in parts}
    with (folder / name / _REST).open("wb") as file:
        torch.save({**rest, _FILES: files, _HEADERS: headers}, file)
        _to_disk(file)
    _publish(folder, name)


def _publish(folder: Path, name: str) -> None:
    """Make a finished part the checkpoint, then drop what it replaces."""
    partial = folder / partial_current(name)
    with partial.open("w", encoding="utf-8") as file:
        file.write(name)
        _to_disk(file)
    partial.replace(folder / CURRENT)
    drop_all_but(folder, (name, CURRENT))


def _to_disk(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _current(path: str | Path) -> Path:
    if not is_folder(path):
        raise ValueError(f"checkpoint '{path}' is not a whole checkpoint: it has no file '{CURRENT}'.")
    name = (Path(path) / CURRENT).read_text(encoding="utf-8")
    folder = Path(path) / name
    if Path(name).name != name or not (folder / _REST).is_file():
        raise ValueError(f"checkpoint '{path}' is damaged: '{name}' is not a folder in it.")
    return folder


def _load_rest(folder: Path) -> Any:
    with reading(folder / _REST):
        return torch.load(folder / _REST, map_location="cpu", weights_only=True)
