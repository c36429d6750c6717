"""The file schema.json of a prepared folder: an object, and a list of the files beside it that is held to."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FOLDERS = ("train", "val", "test", "counts", "vocabulary", "vectors", "items.parquet")
"""Where the files are without which a folder is not whole."""


def schema_file(folder: Path, command: Callable[[Path], str]) -> Path:
    """The schema.json of a prepared folder.

    Args:
        folder: as it was given.
        command: what makes such a folder, of its path.

    Raises:
        FileNotFoundError: if there is no such folder or file; the message has the command.
        ValueError: if the path is a file, or none that the system takes.
    """
    file = folder / "schema.json"
    try:
        if folder.is_file():
            must = "it must be a folder that a preparation has written, as with"
            raise ValueError(f"data path '{folder}' is a file; {must}\n  {command(Path('data'))}")
        if not file.exists():
            problem = "has no schema.json" if folder.is_dir() else "does not exist"
            raise FileNotFoundError(f"data folder '{folder}' {problem}; make it with\n  {command(folder)}")
    except OSError as error:
        if error.strerror is None:
            raise
        raise ValueError(f"data path '{folder}': {error.strerror.lower()}.") from error
    return file


def read_object(file: Path) -> dict[str, Any]:
    """What the file holds.

    Raises:
        ValueError: naming the file, if it is no JSON, holds something else than an object or a number that is none.
    """
    if file.exists() and not file.is_file():
        raise ValueError(f"{file}: must be a file; prepare the folder again.")
    try:
        content = json.loads(
            file.read_text(encoding="utf-8"), object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not valid JSON ({error}); prepare the folder again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: must be a JSON object, got {type(content).__name__}.")
    return content


def _finite(digits: str) -> float:
    """A number of JSON.

    Raises:
        ValueError: if it is beyond what a float holds, or one of the words for it.
    """
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is no finite number")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        ValueError: if it says two things of a key.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key '{twice}' is there twice")
    return found


def check_files(folder: Path, content: Mapping[str, Any]) -> None:
    """Refuse a folder without some of the files that its schema.json lists, or with one of another size.

    Raises:
        ValueError: naming the first, and how many there are.
    """
    listed = content.get("files", {})
    if not isinstance(listed, dict) or not all(_is_listed(name, entry) for name, entry in listed.items()):
        raise ValueError(f"{folder / 'schema.json'}: files must map names to their bytes, got {listed!r}.")
    problems = []
    for name, entry in listed.items():
        found = _size(folder / name)
        if Path(name).parts[0] in FOLDERS and found != entry.get("bytes", found):
            size = f"holds {found:,} bytes in '{name}', not the {entry['bytes']:,} that were written"
            problems.append(f"lacks '{name}'" if found < 0 else size)
    if problems:
        more = f" ({len(problems) - 1} more files are not as they were)" if len(problems) > 1 else ""
        raise ValueError(f"data folder '{folder}' {problems[0]}{more}; prepare it again.")


def _is_listed(name: str, entry: object) -> bool:
    return bool(Path(name).parts) and isinstance(entry, dict) and type(entry.get("bytes", 0)) is int


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1
