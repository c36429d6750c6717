"""The words of a command that go on to Lightning, told from its own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def divided(arguments: Sequence[str], parser: argparse.ArgumentParser) -> tuple[list[str], list[str]]:
    """Our own words, and those for Lightning: options that are not the parser's, each with the value after it."""
    known = {option for action in parser._actions for option in action.option_strings}
    own: list[str] = []
    others: list[str] = []
    words = iter(arguments)
    for word in words:
        option, has_value, _ = word.partition("=")
        if not option.startswith("--") or option == "--" or option in known:
            own.append(word)
            continue
        others.append(word)
        if not has_value:
            others += [value for value in [next(words, None)] if value is not None]
    return own, others
