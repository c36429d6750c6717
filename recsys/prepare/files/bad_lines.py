"""What happens to a line that cannot be used: stop, or skip it and say so. Nothing is dropped silently."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TextIO

POLICIES = ("fail", "skip")
LOUD_FRACTION = 0.1
"""What is dropped beyond this is said loudly."""


@dataclass(frozen=True)
class BadLine:
    """One unusable line: its file, its number counted from 1, and why."""

    file: str
    line: int
    reason: str


class BadLineError(ValueError):
    """The first unusable line, under the policy ``fail``."""


@dataclass
class LineCounts:
    """What became of the lines of one file: read = kept + skipped + the dropped ones (and a header, if any)."""

    read: int = 0
    kept: int = 0
    skipped: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, object]:
        """Return plain values for schema.json."""
        return {"read": self.read, "kept": self.kept, "skipped": self.skipped, "dropped": dict(self.dropped)}


class LineReport:
    """Counts lines by file, applies the policy, and lists every skipped line in a file.

    Args:
        policy: ``fail`` raises at the first bad line; ``skip`` lists it in ``listing`` and goes on.
        listing: The tab-separated file of skipped lines; made only when there is one.
    """

    def __init__(self, policy: str, listing: Path) -> None:
        if policy not in POLICIES:
            raise ValueError(f"on_bad_line must be one of {POLICIES}, got '{policy}'.")
        self.policy = policy
        self.listing = listing
        self.files: dict[str, LineCounts] = {}
        self.first_bad: list[BadLine] = []
        self._stream: TextIO | None = None

    def __enter__(self) -> LineReport:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._stream is not None:
            self._stream.close()

    def of(self, file: str) -> LineCounts:
        """Return the counts of ``file``, starting them at zero."""
        return self.files.setdefault(file, LineCounts())

    @property
    def num_skipped(self) -> int:
        """Bad lines skipped in all files."""
        return sum(counts.skipped for counts in self.files.values())

    def bad(self, lines: list[BadLine]) -> None:
        """Take bad lines in file order.

        Raises:
            BadLineError: The policy is ``fail`` and there is one.
        """
        for bad in lines:
            if self.policy == "fail":
                raise BadLineError(
                    f"{bad.file}, line {bad.line}: {bad.reason}. Mend the line, or pass --on-bad-line skip."
                )
            self._list(bad)

    def _list(self, bad: BadLine) -> None:
        if self._stream is None:
            self._stream = self.listing.open("w", encoding="utf-8")
            self._stream.write("file\tline\treason\n")
        self._stream.write(f"{bad.file}\t{bad.line}\t{bad.reason}\n")
        self.of(bad.file).skipped += 1
        if len(self.first_bad) < 10:
            self.first_bad.append(bad)

    def summary(self) -> list[str]:
        """Return the lines printed at the end of a run."""
        lines = []
        for file, counts in self.files.items():
            dropped = "".join(f", {count:,} dropped ({reason})" for reason, count in counts.dropped.items())
            skipped = f"{counts.skipped:,} bad lines skipped"
            lines.append(f"{file}: {counts.read:,} lines read, {counts.kept:,} kept{dropped}, {skipped}")
        lines += [f"  skipped {bad.file}, line {bad.line}: {bad.reason}" for bad in self.first_bad]
        num_read = sum(counts.read for counts in self.files.values())
        if self.num_skipped > LOUD_FRACTION * num_read:
            lines.append(f"WARNING: {self.num_skipped:,} of {num_read:,} lines were skipped, more than a tenth")
        if self.num_skipped > len(self.first_bad):
            lines.append(f"  ... all {self.num_skipped:,} are listed in {self.listing.name}")
        return lines
