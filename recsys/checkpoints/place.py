"""The place of a checkpoint: what is there gives way whole, and only if a checkpoint wrote it.

A folder and a file cannot change places in one step: the old one is renamed aside, the new one renamed in, the old one
removed. A run killed between the two renames leaves both beside the path, whole: `last.ckpt.partial...` and
`last.ckpt.replaced-...`.
"""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from zipfile import is_zipfile

CURRENT = "current"
"""The file of a checkpoint folder that names its whole part."""
PLAN = "sharding_plan.json"
"""The file of a checkpoint folder that says where its rows were."""

_PART = r"part-[0-9a-f]{8}"
_SHOWN_NAMES = 3


def new_part() -> str:
    """A name for another part."""
    return f"part-{uuid.uuid4().hex[:8]}"


def partial_current(name: str) -> str:
    """What `current` is called while it is written for a part."""
    return f"{CURRENT}.{name}"


def check_local(path: str | Path) -> None:
    """Refuse what is not on a file system of this machine.

    Raises:
        ValueError: naming it.
    """
    if "://" in str(path):
        raise ValueError(f"checkpoint '{path}' is remote, and a sharded run saves folders; give a path without '://'.")


def is_in_the_way(path: Path) -> bool:
    """Whether a folder must be written elsewhere and then put in place; what a link leads to is left alone."""
    return path.is_symlink() or path.is_file()


def check_room(path: Path) -> None:
    """Refuse to write a checkpoint folder where something else is.

    Raises:
        ValueError: naming the path and what is there.
    """
    if path.is_symlink():
        return
    if path.is_file() and not is_zipfile(path):
        raise ValueError(f"checkpoint '{path}' is a file that is no checkpoint; give another path or remove it.")
    if path.is_dir() and not _names_a_part(path / CURRENT):
        _refuse_strangers(path)


def check_replaceable(folder: Path) -> None:
    """Refuse to replace a folder where more than a checkpoint would go with it.

    Raises:
        ValueError: naming the folder and what is in it.
    """
    if folder.is_symlink():
        return
    if not any(folder.iterdir()):
        raise ValueError(f"checkpoint '{folder}' is an empty folder; give the path of a file or remove it.")
    _refuse_strangers(folder)


def put_in_place(new: Path, path: Path) -> None:
    """Rename what is finished to a path, and remove what was there."""
    old = path.with_name(f"{path.name}.replaced-{uuid.uuid4().hex[:8]}")
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    _remove(old)


def drop_all_but(folder: Path, kept: Sequence[str | None]) -> None:
    """Remove what checkpoints wrote in a folder, and nothing else."""
    for other in folder.iterdir():
        if other.name not in kept and _is_of_a_checkpoint(other):
            _remove(other)


def clear(folder: Path) -> None:
    """Remove a folder with what checkpoints wrote in it; with anything else it stays."""
    with suppress(OSError):
        drop_all_but(folder, ())
        folder.rmdir()


def _refuse_strangers(folder: Path) -> None:
    names = sorted(other.name for other in folder.iterdir() if not _is_of_a_checkpoint(other))
    if names:
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        raise ValueError(
            f"checkpoint '{folder}' is a folder that holds {names[:_SHOWN_NAMES]}{more}, which no checkpoint wrote; "
            "give another path or move them."
        )


def _is_of_a_checkpoint(entry: Path) -> bool:
    if entry.is_symlink():
        return False
    if entry.is_dir():
        return re.fullmatch(_PART, entry.name) is not None
    temporary = re.fullmatch(partial_current(_PART), entry.name) is not None
    return temporary or entry.name == PLAN or (entry.name == CURRENT and _names_a_part(entry))


def _names_a_part(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        # One byte more than a name has: whatever is longer is another file.
        return re.fullmatch(_PART.encode(), stream.read(len(new_part()) + 1)) is not None


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
