"""The file schema.json of a prepared folder: an object, and a list of the files beside it that is held to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDERS = ("train", "val", "test", "counts", "vocabulary", "vectors", "items.parquet")
"""Where the files are without which a folder is not whole."""


def folder_of(path: str | Path) -> Path:
    """A path, if the system takes it for one.

    Raises:
        ValueError: saying why not.
    """
    try:
        Path(path).is_dir()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"data path '{str(path)[:80]}' can be no folder: {reason}.") from error
    return Path(path)


def read_object(file: Path) -> dict[str, Any]:
    """What the file holds.

    Raises:
        ValueError: naming the file, if it is no JSON, or holds something else than an object.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: not valid JSON ({error}); prepare the folder again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: must be a JSON object, got {type(content).__name__}.")
    return content


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
