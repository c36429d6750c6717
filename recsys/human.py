"""Numbers and words as people read them: on the terminal, and in pictures."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def human_bytes(num_bytes: float) -> str:
    """Bytes with a decimal unit.

    >>> human_bytes(158_160)
    '158.2 kB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def as_json(content: object) -> str:
    r"""Lines of JSON that any program reads: a number that is none is null, an infinite one a word.

    >>> as_json({"auc": float("nan")})
    '{\n "auc": null\n}\n'
    """
    return json.dumps(plain(content), indent=1, allow_nan=False) + "\n"


def plain(content: Any) -> Any:
    """The same content, of what JSON has."""
    if isinstance(content, Mapping):
        return {str(name): plain(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None if math.isnan(content) else str(content)
    return content


def console(width: int | None = None) -> Console:
    """Where tables are printed, with every word as it is: what users call their columns and values is no markup.

    Args:
        width: of what is no terminal, a file or a pipe; None for rich's default.
    """
    from rich.console import Console

    class Printer(Console):
        def on_broken_pipe(self) -> None:
            """Say that the reader has gone, instead of ending the program with an exit code of rich's own."""
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    plain = Printer(markup=False, emoji=False, highlight=False)
    return plain if plain.is_terminal else Printer(markup=False, emoji=False, highlight=False, width=width)


def drawn(words: str) -> str:
    r"""Words as a picture shows them as they are: matplotlib takes what stands between two dollars for a formula.

    >>> drawn("5$ to 9$")
    '5\\$ to 9\\$'
    """
    return words.replace("$", r"\$")
