"""Tables that a config takes from the checkpoint beside it, wherever the two of them have been moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_SAVED = "SavedTable"


def take_from_beside(content: Any, folder: Path) -> None:
    """Name the checkpoints that lie in the folder of a config by where they are from here.

    Args:
        content: of the config, changed in place: the path of each SavedTable that leads to a file of that folder. Other
            paths are from the working folder, as all are that a config names.
        folder: of the config's file.
    """
    if isinstance(content, list):
        for each in content:
            take_from_beside(each, folder)
    if not isinstance(content, dict):
        return
    arguments = content.get("init_args")
    if str(content.get("class_path")).rpartition(".")[2] == _SAVED and isinstance(arguments, dict):
        path = arguments.get("path")
        if isinstance(path, str) and (folder / path).exists():
            arguments["path"] = str(folder / path)
    for each in content.values():
        take_from_beside(each, folder)
