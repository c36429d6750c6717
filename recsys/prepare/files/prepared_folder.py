"""A folder that appears finished or not at all."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from types import TracebackType

LOCK = ".lock"


class PreparedFolder:
    """Work in ``OUT.partial``, and rename it to ``OUT`` when the ``with`` block ends without an error.

    A run that is killed leaves only ``OUT.partial``, which the next run clears; its lock tells a dead run from a
    running one.
    """

    def __init__(self, out: Path, overwrite: bool) -> None:
        """Check that ``out`` may be written.

        Raises:
            ValueError: ``out`` exists and ``overwrite`` is not given, or it is not a prepared folder.
        """
        self.out = out.absolute()
        self.partial = self.out.with_name(self.out.name + ".partial")
        if self.out.exists() and not overwrite:
            raise ValueError(f"--out '{out}' exists; give another folder, or --overwrite to replace it.")
        if self.out.exists() and not _may_be_replaced(self.out):
            raise ValueError(
                f"--overwrite: '{out}' has no schema.json, so it is not a prepared folder; remove it yourself."
            )

    def __enter__(self) -> Path:
        self.partial.mkdir(parents=True, exist_ok=True)
        self._lock = (self.partial / LOCK).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise ValueError(f"another run is writing '{self.partial}'; wait for it, or give another --out.") from None
        for left_over in self.partial.iterdir():
            if left_over.name != LOCK:
                _remove(left_over)
        return self.partial

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        with self._lock:
            if kind is not None:
                shutil.rmtree(self.partial)
                return
            (self.partial / LOCK).unlink()
            if self.out.exists():
                _remove(self.out)
            self.partial.rename(self.out)


def _may_be_replaced(folder: Path) -> bool:
    return folder.is_dir() and ((folder / "schema.json").exists() or not any(folder.iterdir()))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
