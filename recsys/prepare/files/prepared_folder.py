"""A folder that appears finished or not at all, and replaces only what is proved to be one of ours."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from recsys.prepare.files.claim import claim
from recsys.prepare.files.prepared_files import SCHEMA
from recsys.prepare.files.synced import sync


class PreparedFolder:
    """Work in a hidden folder beside ``OUT``, and rename it to ``OUT`` when the ``with`` block ends without an error.

    ``OUT`` belongs to the run that holds the lock ``.OUT.lock``, which the system lifts when its process ends, however
    it does; what a killed run has left is put right by the next one. A folder that is replaced is renamed aside before
    the new one takes its name, and removed after. Then the lock is given back.
    """

    def __init__(self, out: Path, overwrite: bool) -> None:
        """Check that ``out`` may be written.

        Raises:
            ValueError: ``out`` exists and ``overwrite`` is not given, or it is not a prepared folder of ours.
        """
        self.out = out.absolute()
        self._overwrite = overwrite
        self._word = uuid4().hex
        self._check()
        self.partial = self._beside(f"{self._word}.partial")

    def __enter__(self) -> Path:
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self._locked()
        try:
            self._put_right()
            self._check()
            self.partial.mkdir()
        except BaseException:
            self._release()
            raise
        return self.partial

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        try:
            if kind is not None:
                shutil.rmtree(self.partial, ignore_errors=True)
                if isinstance(error, OSError) and error.errno is not None and error.filename is None:
                    error.filename = str(self.out)  # a full disk says it of no file
                return
            self._publish()
        finally:
            self._release()

    def _publish(self) -> None:
        for path in [*self.partial.rglob("*"), self.partial]:
            sync(path)
        try:
            self._check()
        except ValueError as problem:
            kept = self.out.with_name(f"{self.out.name}.{self._word[:8]}")
            self.partial.rename(kept)
            raise ValueError(
                f"{problem} It was not as it is now when this run began; what was made is in '{kept}'."
            ) from None
        old = self._beside(f"{self._word}.old")
        if self.out.exists():
            self.out.rename(old)
        self.partial.rename(self.out)
        sync(self.out.parent)
        if old.exists():
            shutil.rmtree(old)

    def _check(self) -> None:
        if not self.out.name:
            raise ValueError(f"--out '{self.out}' is the root of all folders; give a folder in it.")
        if self.out.is_symlink():
            raise ValueError(f"--out '{self.out}' is a link; name the folder itself.")
        if not self.out.exists():
            return
        if not self._overwrite:
            raise ValueError(f"--out '{self.out}' exists; give another folder, or --overwrite to replace it.")
        problem = why_not_ours(self.out)
        if problem is not None:
            raise ValueError(f"--overwrite: '{self.out}' {problem}; remove it yourself, or give another --out.")

    def _put_right(self) -> None:
        """Remove what killed runs have left; a folder that had been renamed aside gets its name back."""
        left = re.compile(rf"\.{re.escape(self.out.name)}\.[0-9a-f]{{32}}\.(partial|old)")
        for path in self.out.parent.iterdir():
            if not left.fullmatch(path.name):
                continue
            if path.suffix == ".old" and not self.out.exists():
                path.rename(self.out)
            else:
                shutil.rmtree(path)

    def _locked(self) -> int:
        return claim(self._beside("lock"), f"another run is writing '{self.out}'; wait for it, or give another --out.")

    def _release(self) -> None:
        self._beside("lock").unlink(missing_ok=True)
        os.close(self._lock)

    def _beside(self, name: str) -> Path:
        return self.out.with_name(f".{self.out.name}.{name}")


def why_not_ours(folder: Path) -> str | None:
    """What shows that a folder, or something in it, was not made here; None if all of it was, or it is empty."""
    if not folder.is_dir():
        return "is not a folder"
    found = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
    }
    if not found:
        return None
    try:
        listed = set(json.loads((folder / SCHEMA).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return f"has no {SCHEMA} that lists its files, so nothing proves that a preparation of this version made it"
    strange = sorted(found - listed - {SCHEMA})
    return f"holds '{strange[0]}', which no preparation has written" if strange else None
