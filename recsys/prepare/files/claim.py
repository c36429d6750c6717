"""A claim on what is about to be written: one program at a time holds the lock file beside it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def claim(lock: Path, refusal: str) -> int:
    """The descriptor of a lock that is ours, until it is closed.

    Raises:
        ValueError: saying `refusal`, if another program holds it.
    """
    while True:
        found = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(found)
            raise ValueError(refusal) from None
        # The run before may have removed the file between our opening and locking it.
        if lock.exists() and os.fstat(found).st_ino == lock.stat().st_ino:
            return found
        os.close(found)
