"""A file that appears whole or not at all, and belongs to the run that claimed its name."""

from __future__ import annotations

import os
import re
from pathlib import Path
from uuid import uuid4

from recsys.prepare.files.claim import claim
from recsys.prepare.files.synced import sync


class PublishedFile:
    """Claims a file's name for one run, gives places for work beside it, and publishes what was made there.

    The claim is a lock on a hidden file beside the target, which the system lifts when its process ends, however it
    does. What a killed run has left is removed by the next one that has the claim.

    Args:
        target: the file.
        overwrite: whether an existing file may be replaced.
    """

    def __init__(self, target: Path, overwrite: bool) -> None:
        self.target = target.absolute()
        self._overwrite = overwrite
        self._lock: int | None = None

    def claim(self) -> str:
        """Take the name before any work is done; returns a word that the work's places are told by.

        Raises:
            ValueError: the target exists and may not be replaced, is a link or no file, or another run has claimed it.
        """
        self._check()
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self._locked()
        for path in self.target.parent.iterdir():
            if re.fullmatch(rf"\.{re.escape(self.target.name)}\.[0-9a-f]{{32}}\.\w+", path.name):
                path.unlink()
        return uuid4().hex

    def place(self, word: str, name: str) -> Path:
        """Where to work: a path beside the target that no other run has."""
        return self._beside(f"{word}.{name}")

    def publish(self, made: Path) -> None:
        """Give a finished file the target's name; it is on the disk before it has it.

        Raises:
            ValueError: as `claim`, if the target has come about meanwhile.
        """
        sync(made)
        self._check()
        made.replace(self.target)
        sync(self.target.parent)

    def release(self, word: str) -> None:
        """Give the name back, and remove what was not published."""
        if self._lock is None:
            return
        for path in self.target.parent.iterdir():
            if path.name.startswith(f".{self.target.name}.{word}."):
                path.unlink(missing_ok=True)
        self._beside("lock").unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = None

    def _check(self) -> None:
        if self.target.is_symlink():
            raise ValueError(f"'{self.target}' is a link, through which nothing is written; name the file itself.")
        if self.target.exists() and not self.target.is_file():
            raise ValueError(f"'{self.target}' exists and is not a file; give another path.")
        if self.target.exists() and not self._overwrite:
            raise ValueError(
                f"'{self.target}' exists and is kept; choose another folder (--trainer.default_root_dir), or replace "
                "it: --trainer.callbacks+=PredictionWriter --trainer.callbacks.overwrite=true."
            )

    def _locked(self) -> int:
        return claim(self._beside("lock"), f"another run is writing '{self.target}'; wait for it, or choose another.")

    def _beside(self, name: str) -> Path:
        return self.target.with_name(f".{self.target.name}.{name}")
