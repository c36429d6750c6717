"""The commands that README.md and the pages of docs/ show, as a shell would read them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"```(?:console|bash|sh)\n(.*?)```", re.DOTALL)
_VARIABLE = re.compile(r"[A-Z]+=")
_LAUNCHERS = ("recsys", "lightning")


@dataclass(frozen=True)
class Command:
    """One command of a page.

    Attributes:
        page: Name of the page.
        words: The program and its arguments, variables of earlier lines put in.
    """

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def commands_of(page: Path) -> list[Command]:
    """All commands of a page, in order; launchers of several processes are left off before what they launch."""
    found = []
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        variables: dict[str, str] = {}
        for line in block.replace("\\\n", " ").splitlines():
            if not line.startswith("$ "):
                continue  # what a command prints
            text = line[2:]
            for name, value in variables.items():
                text = text.replace(f"${name}", value)
            words = shlex.split(text, comments=True)
            if _VARIABLE.match(words[0]):
                name, _, variables[name] = words[0].partition("=")
                continue
            found.append(Command(page.name, tuple(_without_launcher(words))))
    return found


def _without_launcher(words: list[str]) -> list[str]:
    if words[0] not in ("torchrun", "srun"):
        return words
    place = next(place for place, word in enumerate(words) if Path(word).name in _LAUNCHERS)
    return [Path(words[place]).name, *words[place + 1 :]]
