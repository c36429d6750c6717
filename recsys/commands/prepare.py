"""`recsys prepare`: raw files to a prepared folder, by the programs that data_scripts/ has too; `check` reads one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from recsys.configuration.suggestions import explain

PROGRAMS = {
    "clicks": "anybody's log of clicks: CSV, Parquet, Arrow, JSON lines",
    "apply": "new rows with the vocabulary of a folder of clicks",
    "sessions": "an event log as sequences of items, or a named set",
    "criteo": "the Criteo display advertising data, or a generated sample",
    "avazu": "the Avazu click data",
    "movielens": "MovieLens-1M as clicks",
    "semantic_ids": "codes of items from their content, from coarse to fine",
    "check": "say what is wrong in a prepared folder, of our making or by hand",
}
_USAGE = "usage: recsys prepare PROGRAM ... (recsys prepare PROGRAM --help says more)\n" + "\n".join(
    f"  {name:<12} {words}" for name, words in PROGRAMS.items()
)


def main(arguments: Sequence[str]) -> int:
    """Run a program; returns the exit code.

    Raises:
        ValueError: if there is no such program, or `check` finds something wrong.
    """
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help"):
        print(_USAGE)
        return 0
    if name not in PROGRAMS:
        unknown = explain(f"prepare: there is no program '{name}'", name, list(PROGRAMS))
        said = unknown if name else "prepare: name a program."
        raise ValueError(f"{said}\n{_USAGE}")
    if name == "check":
        from recsys.data.check import main as check

        return check(arguments[1:])
    import_module(f"recsys.prepare.programs.{name}").main(list(arguments[1:]))
    return 0
