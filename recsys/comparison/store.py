"""Runs on disk: a folder each, with what decides it, its log, and its result or the end of its error."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recsys.comparison.spec import Run


@dataclass(frozen=True)
class Result:
    """What a finished run reached.

    Args:
        contender: its name.
        seed: of the run.
        val: the compared metric on validation, at the best epoch.
        test: all test metrics of that epoch.
        table_bytes: of the tables while serving.
        training_bytes: the same and the optimizer state of rows and of the tables' own parameters.
        samples_per_second: median over the training.
        peak_memory_bytes: largest resident size of the process.
        seconds: of the whole run.
    """

    contender: str
    seed: int
    val: float
    test: dict[str, float]
    table_bytes: int
    training_bytes: int
    samples_per_second: float
    peak_memory_bytes: int
    seconds: float


class RunStore:
    """A folder of runs.

    Args:
        folder: made when the first run begins.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, run: Run) -> Path:
        """The folder of a run."""
        return self.folder / run.key

    def begin(self, run: Run) -> Path:
        """Make the folder of a run and say in it what decides the run; forget an earlier error."""
        folder = self.path(run)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").unlink(missing_ok=True)
        write_whole(folder / "run.json", asdict(run))
        return folder

    def result(self, run: Run) -> Result | None:
        """The result of a run under the name that it now has; None if it is not done."""
        path = self.path(run) / "result.json"
        if not path.is_file():
            return None
        return Result(**json.loads(path.read_text()) | {"contender": run.contender})

    def error(self, run: Run) -> str | None:
        """Why a run failed; None if it did not."""
        path = self.path(run) / "error.txt"
        return path.read_text() if path.is_file() else None

    def results(self) -> Iterator[Result]:
        """Every finished run of the store, under the name that it began with."""
        for path in sorted(self.folder.glob("*/result.json")):
            yield Result(**json.loads(path.read_text()))


def read_run(folder: Path) -> Run:
    """What a run's folder says of it."""
    content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return Run(**content | {name: tuple(content[name]) for name in ("configs", "overrides")})


def write_whole(path: Path, content: Any) -> None:
    """Write JSON so that the file is never half there, whenever the process is killed."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)
