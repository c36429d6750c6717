"""Files that appear whole, those of a report together: until they are on the disk, what was there before stays."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from recsys.prepare.files.synced import sync

_HIDDEN = ".partial-"


@contextmanager
def whole_files(folder: Path) -> Iterator[Path]:
    """A place to write files, which get their names in a folder when the ``with`` block ends without an error.

    What a killed run has left there is removed by the next one.

    Args:
        folder: made if it is not there; files of the same names are replaced.

    Raises:
        OSError: what the system refused, naming the folder where it names no file; nothing has changed then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _place(folder, _HIDDEN) as partial:
        yield partial
        made = sorted(partial.iterdir())
        for path in made:
            _check_writable(folder / path.name)
            sync(path)
        for path in made:
            path.replace(folder / path.name)
        _sync_names(folder)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A place to write all of a folder, which gets its name when the ``with`` block ends without an error.

    Args:
        folder: not there, or empty.

    Raises:
        OSError: as `whole_files`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _place(folder.parent, f"{folder.name}{_HIDDEN}") as partial:
        yield partial
        for path in [*partial.rglob("*"), partial]:
            sync(path)
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
        _sync_names(folder.parent)


def write_whole_text(path: Path, text: str) -> None:
    """Write a file in one; what a link leads to is the file, and what is no file, such as a pipe, is written to.

    Raises:
        OSError: as `whole_files`.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    path = path.resolve()
    with whole_files(path.parent) as partial:
        (partial / path.name).write_text(text, encoding="utf-8")
        if path.exists():
            shutil.copymode(path, partial / path.name)


def write_new_text(path: Path, text: str) -> None:
    """Write a file that is not there; it is not left behind if the system refuses some of it.

    Raises:
        FileExistsError: if it is there.
        OSError: what the system refused, naming the file.
    """
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise
    except OSError as error:
        path.unlink(missing_ok=True)
        error.filename = str(path)  # a full disk says it of no file
        raise


def _sync_names(folder: Path) -> None:
    """Bring new names to the disk, where a file system can; they are there whether or not."""
    with suppress(OSError):
        sync(folder)


def _check_writable(target: Path) -> None:
    """A file that may not be written is not replaced, though its folder would let it be."""
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))


@contextmanager
def _place(folder: Path, prefix: str) -> Iterator[Path]:
    """A new folder in another one, that goes in the end; what killed runs have left goes first."""
    _clear(folder, prefix)
    partial = folder / f"{prefix}{uuid4().hex}"
    partial.mkdir()
    # Held while this process lives: whoever finds the place unlocked may clear it.
    held = _locked(partial)
    try:
        yield partial
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(folder)  # a full disk says it of no file
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if held is not None:
            os.close(held)


def _clear(folder: Path, prefix: str) -> None:
    for left in folder.iterdir():
        if not re.fullmatch(rf"{re.escape(prefix)}[0-9a-f]{{32}}", left.name):
            continue
        held = _locked(left)
        if held is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(held)


def _locked(folder: Path) -> int | None:
    """The descriptor of a lock on a folder; None if another process has it, or the file system has none."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(opened)
            raise
        return opened
    return None
