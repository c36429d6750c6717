"""The parser of every command: an option is written out, and one that does not exist is compared with those that do."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn


def whole_number(least: int, stop: int | None = None) -> Callable[[str], int]:
    """The type of an option that is a whole number from `least` on, below `stop` if it is given."""
    allowed = f"a whole number from {least}" if stop is None else f"a whole number in [{least}, {stop})"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (stop is not None and value >= stop):
            raise argparse.ArgumentTypeError(f"must be {allowed}, got {text!r}")
        return value

    return parse


SEED = whole_number(0, 1 << 32)
"""The type of an option that seeds what is drawn; NumPy and scikit-learn know no others."""


class CommandParser(argparse.ArgumentParser):
    """argparse's, without its abbreviations: `--max` would be another option as soon as there is a second `--max...`.

    Args:
        options: of `argparse.ArgumentParser`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "allow_abbrev": False})

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse; words that mean nothing here end the command before what is missing does."""
        words = sys.argv[1:] if args is None else list(args)
        for word in words[: words.index("--")] if "--" in words else words:
            option = word.partition("=")[0]
            if option.startswith("--") and " " not in option and option not in self._option_string_actions:
                self.error(f"there is no option '{option}'{self._hint(option)}")
        self._refuse_twice(words)
        found, left = self.parse_known_args(words, namespace)
        if left:
            self.error(f"{' '.join(left)}: one argument too many, or an option that does not exist")
        return found

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Refuse an empty path, which would be the working folder: `--out "$UNSET"`."""
        if action.type is Path and not arg_string:
            raise argparse.ArgumentError(action, "a path must not be empty; leave it out, or write . for this folder")
        return super()._get_value(action, arg_string)

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and one sentence."""
        end = " " if message.endswith((".", "?")) else "; "
        print(f"error: {self.prog}: {message}{end}{self.prog} --help says more.", file=sys.stderr)
        raise SystemExit(2)

    def _hint(self, option: str) -> str:
        known = [name for name in self._option_string_actions if name.startswith("--")]
        begun = [name for name in known if name.startswith(option)]
        close = begun if len(begun) == 1 else get_close_matches(option, known, n=1, cutoff=0.5)
        return f"; did you mean '{close[0]}'?" if close else f" (there are {', '.join(sorted(known))})"

    def _refuse_twice(self, words: Sequence[str]) -> None:
        """An option that keeps its last values alone would forget the first without a word."""
        seen: set[str] = set()
        for word in words[: words.index("--")] if "--" in words else words:
            action = self._option_string_actions.get(word.partition("=")[0])
            if not isinstance(action, argparse._StoreAction):
                continue
            if action.dest in seen:
                several = ", with all its values" if action.nargs in ("+", "*") else ""
                self.error(f"{action.option_strings[-1]} is given twice; give it once{several}")
            seen.add(action.dest)
