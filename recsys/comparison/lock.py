"""One process at a time works on a run's folder, whatever became of the process that started it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

_SECONDS_BETWEEN_TRIES = 0.5


class Stopped(Exception):
    """The user ended the comparison while a run waited for its folder."""


@contextmanager
def held(folder: Path, stop: Event, say: Callable[[str], object]) -> Iterator[int]:
    """Hold `folder/lock`, waiting for whoever has it; yields its descriptor.

    A child that inherits the descriptor holds the lock too, until it ends: if this process is killed, no other one
    begins the run while the child still works on it.

    Raises:
        Stopped: if `stop` is set before the lock is free.
    """
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _taken(lock):
            owner = os.pread(lock, 20, 0).decode() or "unknown"
            say(f"waiting for {folder}: process {owner} works on this run; end it to begin anew")
            while not _taken(lock):
                if stop.wait(_SECONDS_BETWEEN_TRIES):
                    raise Stopped
        yield lock
    finally:
        os.close(lock)


def name_owner(lock: int, process: int) -> None:
    """Write into the lock file which process works on the run."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(process).encode(), 0)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
