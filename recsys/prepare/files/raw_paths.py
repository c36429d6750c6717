"""The files that a user names: each as it is written, without patterns, and a folder as all files in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path


def named_files(paths: Sequence[Path], option: str) -> list[tuple[Path, str]]:
    """Return every file with a name of its own for messages, files of a folder in natural order (day_2, day_10).

    A folder's hidden files and those that begin with an underscore (_SUCCESS) are none of its parts.

    Raises:
        ValueError: A path does not exist, a folder has no file, or a file is named twice.
    """
    found: list[Path] = []
    for path in paths:
        parts = _parts(path) if path.is_dir() else [path]
        if not path.exists():
            raise ValueError(f"{option}: '{path}' does not exist.")
        if not parts:
            raise ValueError(f"{option}: folder '{path}' has no files.")
        if not (path.is_dir() or path.is_file()):
            raise ValueError(f"{option}: '{path}' is no file, but a pipe or a device; files are read more than once.")
        found += parts
    seen = set()
    for path in found:
        if path.resolve() in seen:
            raise ValueError(f"{option}: '{path}' is named twice; give each file once.")
        seen.add(path.resolve())
    return [(path, _short_name(path, found)) for path in found]


def check_outside(out: Path | None, read: Sequence[Path]) -> None:
    """Refuse to write into a folder all of which is read: the next run would take its files for raw ones.

    Raises:
        ValueError: naming both.
    """
    for folder in read:
        if out is not None and folder.is_dir() and folder.resolve() in out.resolve().parents:
            raise ValueError(f"--out '{out}' lies in '{folder}', all of which is read; give a folder outside of it.")


def _parts(folder: Path) -> list[Path]:
    inside = [path for path in folder.rglob("*") if path.is_file()]
    own = [path for path in inside if not any(part[0] in "._" for part in path.relative_to(folder).parts)]
    return sorted(own, key=lambda path: _natural(str(path.relative_to(folder))))


def _natural(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"([0-9]+)", name) if part]


def _short_name(path: Path, others: Sequence[Path]) -> str:
    """The last parts of a path that no other path has."""
    for num_parts in range(1, len(path.parts)):
        name = "/".join(path.parts[-num_parts:])
        if sum("/".join(other.parts[-num_parts:]) == name for other in others) == 1:
            return name
    return str(path)
