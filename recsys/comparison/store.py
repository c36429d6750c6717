"""Runs on disk: a folder each, with what decides it, its log, and its result or the end of its error."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from recsys.argument_types import check_fields
from recsys.comparison.spec import Run
from recsys.prepare.files.first_line import first_line

AGAIN = "remove the folder, and the run is done again"
"""What to do about a run whose files are damaged."""


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

    def __post_init__(self) -> None:
        """Refuse fields of another type."""
        check_fields(self)
        for name in ("table_bytes", "training_bytes", "peak_memory_bytes"):
            if not 0 <= getattr(self, name) < 2**63:
                raise ValueError(f"{name} must be in [0, 2**63), got {getattr(self, name)}.")
        for name, value in {"val": self.val, **self.test}.items():
            if math.isinf(value):
                raise ValueError(f"{name} must be finite, or nan where it has no value, got {value}.")


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
        """The result of a run under the name that it now has; None if it is not done.

        Raises:
            ValueError: if the file is not whole, or is of another run.
        """
        path = self.path(run) / "result.json"
        if not path.is_file():
            return None
        found = read_result(path)
        if run.metric not in found.test:
            raise ValueError(f"'{path}': test has no '{run.metric}'; {AGAIN}.")
        return replace(found, contender=run.contender)

    def error(self, run: Run) -> str | None:
        """Why a run failed; None if it did not."""
        path = self.path(run) / "error.txt"
        return path.read_text(errors="replace") or "it left no word" if path.is_file() else None


def read_result(path: Path) -> Result:
    """What the result of a run says, under the name that the run began with.

    Raises:
        ValueError: if it is not as a run writes it, or not that of the run that its folder is for.
    """
    try:
        result = _with_floats(Result(**read_entries(path, Result)))
        run = read_run(path.parent)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"'{path}': {error} {AGAIN.capitalize()}.") from error
    if run.key != path.parent.name or (run.contender, run.seed) != (result.contender, result.seed):
        raise ValueError(
            f"'{path}': is the result of '{result.contender}', seed {result.seed}, and lies in the folder of another "
            f"run; {AGAIN}."
        )
    return result


def _with_floats(result: Result) -> Result:
    """Numbers that JSON may hold without a point, as floats.

    Raises:
        OverflowError: if one is too large.
    """
    test = {name: float(value) for name, value in result.test.items()}
    val, rate, seconds = float(result.val), float(result.samples_per_second), float(result.seconds)
    return replace(result, val=val, test=test, samples_per_second=rate, seconds=seconds)


def read_run(folder: Path) -> Run:
    """What a run's folder says of it.

    Raises:
        ValueError: if run.json is missing, or not as a run writes it.
    """
    path = folder / "run.json"
    content = read_entries(path, Run)
    for name in ("configs", "overrides"):
        if not isinstance(content[name], list):
            raise ValueError(f"{path.name}: {name} must be a list.")
    return Run(**content | {name: tuple(content[name]) for name in ("configs", "overrides")})


def read_entries(path: Path, kind: type) -> dict[str, Any]:
    """The JSON object of a file of the store, with the entries of a dataclass.

    Raises:
        ValueError: naming the file and what it is not.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.name} is missing.") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not valid JSON ({first_line(error)}).") from error
    wanted = [entry.name for entry in fields(kind)]
    if not isinstance(content, dict) or sorted(content) != sorted(wanted):
        raise ValueError(f"{path.name} must have {', '.join(wanted)}.")
    return content


def write_whole(path: Path, content: Any) -> None:
    """Write JSON so that the file is never half there, whenever the process is killed."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)
