"""`recsys methods`: every table method, from which paper, the bytes it takes at three budgets, and its step.

recsys methods
recsys methods --num_embeddings 10000000 --embedding_dim 64
recsys methods --update docs/tables.md

What a step takes beside FullTable's is what `benchmarks/tables.py methods --store` has left in `method_steps.json`
beside the page, or in the file that is given.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.padding import Padding

import recsys.tables
from recsys.human import console, human_bytes
from recsys.prepare.files.command_parser import CommandParser
from recsys.prepare.files.whole_files import write_whole_text
from recsys.tables import FullTable, Table
from recsys.tables.budget import BudgetError
from recsys.tables.sizing import stored_bytes

FRACTIONS = (0.5, 0.1, 0.01)
_MOST = {"num_embeddings": 1 << 28, "embedding_dim": 4096}
"""Some tables keep numbers of every id, which are made to be counted."""
START, END = "<!-- methods -->", "<!-- end -->"
STEPS = "method_steps.json"
"""Beside the page that is updated."""


def main(arguments: Sequence[str]) -> int:
    """Print the table, or put it into a page between its marks; returns the exit code.

    Raises:
        ValueError: on a page without marks, sizes out of range, or a file of steps that is none.
    """
    chosen = parser().parse_args(list(arguments))
    for name, most in _MOST.items():
        if not 1 <= getattr(chosen, name) <= most:
            raise ValueError(f"--{name} must be in [1, {most}], got {getattr(chosen, name)}.")
    stored = chosen.steps or (chosen.update.parent / STEPS if chosen.update is not None else None)
    steps = {} if stored is None or (chosen.steps is None and not stored.is_file()) else step_ratios(stored)
    lines = [header(), *(line(method, chosen.num_embeddings, chosen.embedding_dim) for method in methods())]
    lines = [[*each, step] for each, step in zip(lines, _step_column(lines, steps), strict=True)] if steps else lines
    if chosen.update is None:
        show(lines)
        return 0
    text = chosen.update.read_text(encoding="utf-8")
    if START not in text or END not in text.split(START, 1)[1]:
        raise ValueError(f"--update: '{chosen.update}' has no '{START}' with '{END}' behind it.")
    write_whole_text(chosen.update, updated(text, markdown(lines)))
    print(f"updated {chosen.update}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = CommandParser(prog="recsys methods", description="Every table method and the bytes it takes.")
    found.add_argument("--num_embeddings", type=int, default=1_000_000, help="V, ids of the table that is sized")
    found.add_argument("--embedding_dim", type=int, default=16, help="D")
    found.add_argument("--steps", type=Path, help=f"file of benchmarks/tables.py --store; {STEPS} beside the page")
    found.add_argument("--update", type=Path, help="Markdown page whose table, between marks, is replaced")
    return found


def methods() -> Iterator[type[Table]]:
    """The classes of tables that can be built, by name."""
    for name in sorted(recsys.tables.__all__):
        found = getattr(recsys.tables, name)
        if inspect.isclass(found) and issubclass(found, Table) and not inspect.isabstract(found):
            yield found


def header() -> list[str]:
    """Titles of the columns."""
    return ["table", "an id's vector", "from", "linear", *(f"{fraction:.0%}" for fraction in FRACTIONS)]


def line(method: type[Table], num_embeddings: int, embedding_dim: int) -> list[str]:
    """A method in words and bytes."""
    sizes = [bytes_at(method, num_embeddings, embedding_dim, fraction) for fraction in FRACTIONS]
    summary = (inspect.getdoc(method) or "").splitlines()[0]
    return [method.__name__, summary, source(method), "yes" if method.linear else "", *sizes]


def step_ratios(path: Path) -> dict[str, float]:
    """What a training step takes with each method beside FullTable's, as benchmarks/tables.py has stored it.

    Raises:
        ValueError: on a file that it has not written.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["methods"]
        return {name: float(times["step_ratio"]) for name, times in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"--steps: '{path}' is no file of benchmarks/tables.py methods --store: {error}") from error


def _step_column(lines: Sequence[Sequence[str]], steps: Mapping[str, float]) -> list[str]:
    """The title, and the ratio of each method that was measured."""
    ratios = (steps.get(name) for name, *_ in lines[1:])
    return ["step", *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)]


def source(method: type[Table]) -> str:
    """The papers that the class or its module names by number, or what its Source begins with."""
    texts = [inspect.getdoc(method) or "", inspect.getdoc(sys.modules[method.__module__]) or ""]
    for text in texts:
        if found := list(dict.fromkeys(re.findall(r"arXiv:\d{4}\.\d{4,5}", text))):
            return ", ".join(found)
    named = re.search(r"Source: ([^.\n]+)", texts[0])
    return named.group(1) if named else ""


def bytes_at(method: type[Table], num_embeddings: int, embedding_dim: int, fraction: float) -> str:
    """What a method takes where a fraction of the full table is allowed, or the least that it can do with."""
    full = FullTable("probe", num_embeddings, embedding_dim).logical_bytes()
    if "budget_fraction" not in inspect.signature(method).parameters:
        return ""
    try:
        table = method("probe", num_embeddings, embedding_dim, budget_fraction=fraction)  # type: ignore[call-arg]
    except BudgetError as error:
        return f"from {error.smallest_bytes / full:.1%}"
    except (TypeError, ValueError):
        return ""  # It needs more than a size, such as the codes of its items.
    return human_bytes(stored_bytes({"probe": table}))


def show(lines: Sequence[Sequence[str]]) -> None:
    """The methods on a terminal: sizes in one line, and below it, in as many as it takes, what the method does."""
    printed = console()
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, summary, papers, *numbers in lines:
        aligned = (f"{number:>{width + 2}}" for number, width in zip(numbers, widths[3:], strict=True))
        printed.print(f"{name:<{widths[0]}}{''.join(aligned)}", style="bold")
        printed.print(Padding(f"{summary} ({papers})" if papers else summary, (0, 0, 0, 4)))


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """The table in Markdown."""
    names = [f"`{each[0]}`" for each in lines[1:]]
    rows = [lines[0], ["--:" if _is_number(name) else "--" for name in lines[0]]]
    rows += [[name, *each[1:]] for name, each in zip(names, lines[1:], strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _is_number(title: str) -> bool:
    return title.endswith("%") or title == "step"


def updated(page: str, table: str) -> str:
    """The page with another table between its marks."""
    before, rest = page.split(START, 1)
    return f"{before}{START}\n{table}\n{END}{rest.split(END, 1)[1]}"
