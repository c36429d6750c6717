"""A checkpoint in one file: whole or not there at all, on any file system, and read as tensors and plain values."""

from __future__ import annotations

import fcntl
import os
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch

from recsys.checkpoints.checksums import CHECKSUMS, checksums, verify
from recsys.checkpoints.errors import reading
from recsys.checkpoints.kinds import check_kinds
from recsys.checkpoints.place import put_in_place
from recsys.checkpoints.tensors import check_readable, split
from recsys.prepare.files.synced import sync

_PIECE_BYTES = 1 << 24


def write(path: str | Path, checkpoint: Mapping[str, Any]) -> None:
    """Write beside the target, bring it to the disk, and only then give it its name; what a killed run left goes.

    Args:
        path: of the file; a checkpoint that is there, a file or a folder, is replaced.
        checkpoint: tensors and plain values.

    Raises:
        ValueError: if an entry could not be read again.
        OSError: if it cannot be written; the checkpoint before stays.
    """
    target = Path(path)
    check_readable(split(checkpoint)[0])
    target.parent.mkdir(parents=True, exist_ok=True)
    _clear_partial(target)
    partial = target.with_name(f"{target.name}.partial-{uuid.uuid4().hex[:8]}")
    try:
        with partial.open("wb") as file:
            # Held while this process lives: whoever finds the file unlocked may clear it.
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            torch.save({**checkpoint, CHECKSUMS: checksums(checkpoint)}, file)
            file.flush()
            os.fsync(file.fileno())
            if target.is_dir() and not target.is_symlink():
                put_in_place(partial, target)
            else:
                partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def read(path: str | Path, mmap: bool = False) -> dict[str, Any]:
    """What a file holds; nothing in it is executed or imported.

    Args:
        path: of the file.
        mmap: leave tensors on disk until they are used; the file must not change meanwhile.

    Raises:
        ValueError: naming the file, if it is missing, cut off, damaged, holds code or is no checkpoint.
    """
    content = _load(path, mmap)
    if CHECKSUMS not in content:
        # Of a file that something else has written, as a Trainer without our plugin, the archive's own.
        with reading(path):
            _check_records(Path(path), tensors=True)
    verify(path, content)
    return content


def read_rest(path: str | Path) -> dict[str, Any]:
    """Everything of a checkpoint but its tensors, whose place another kind of value takes; little of a file is read.

    Raises:
        ValueError: as `read`, but for damaged tensors.
    """
    return split(_load(path, mmap=True))[0]


def _load(path: str | Path, mmap: bool) -> dict[str, Any]:
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"checkpoint '{path}' does not exist.")
    with reading(path), file.open("rb") as stream:
        is_zip = is_zipfile(stream)
    if not is_zip:
        raise ValueError(f"checkpoint '{path}' is truncated or not a checkpoint of torch.")
    with reading(path):
        _check_records(file)
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    if not isinstance(content, dict):
        raise ValueError(f"checkpoint '{path}' holds a {type(content).__name__}, not what `lightning fit` writes.")
    check_kinds(path, content)
    return content


def _check_records(file: Path, tensors: bool = False) -> None:
    """Read all but the tensors, or the tensors alone, with the archive's checksums."""
    with ZipFile(file) as archive:
        for name in archive.namelist():
            if ("/data/" in name) == tensors:
                try:
                    with archive.open(name) as record:
                        while record.read(_PIECE_BYTES):
                            pass
                except BadZipFile as error:
                    raise RuntimeError(f"record '{name}' is damaged") from error


def _clear_partial(target: Path) -> None:
    """Remove what killed runs left of the same target."""
    pattern = re.compile(rf"{re.escape(target.name)}\.partial-[0-9a-f]{{8}}")
    for left in target.parent.iterdir():
        if pattern.fullmatch(left.name) and left.is_file():
            with suppress(OSError), left.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk, where a file system can."""
    with suppress(OSError):
        sync(folder)
