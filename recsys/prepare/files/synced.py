"""What was written, on the disk before it is renamed into its place."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Bring a file's content, or a folder's names, to the disk.

    Raises:
        OSError: where the file system cannot.
    """
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
