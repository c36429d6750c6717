"""Configs that the package brings along, found by name where no file of the user's has it: `-c criteo`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "configs"


def find(name: str) -> str:
    """The file that a -c names: a file as it is, else a config of the package, else the name again.

    >>> Path(find("tables/qr")).name
    'qr.yaml'
    >>> find("configs/tables/qr.yaml") == find("tables/qr")
    True
    """
    if Path(name).is_file():
        return name
    # As pages write it, from wherever the package is used.
    shipped = FOLDER / f"{name.removeprefix('configs/').removesuffix('.yaml')}.yaml"
    return str(shipped) if shipped.is_file() and not Path(name).is_absolute() else name


def names() -> list[str]:
    """What can be named."""
    return sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.yaml"))


def is_yaml(name: str) -> bool:
    """Whether it is called as YAML files are."""
    return name.endswith((".yaml", ".yml"))


def with_files(arguments: Sequence[str]) -> list[str]:
    """A command line whose configs are files."""
    found = list(arguments)
    for place, word in enumerate(found):
        if word in ("-c", "--config") and place + 1 < len(found):
            found[place + 1] = find(found[place + 1])
        elif word.startswith("--config="):
            found[place] = f"--config={find(word.partition('=')[2])}"
    return found
