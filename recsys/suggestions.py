"""Turns a parser's complaint into what the user meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def explain(message: str, word: str | None = None, known: Sequence[str] = ()) -> str:
    """The message with "did you mean" and the words that exist.

    Without `word`, the message is a parser's: the word it rejects is found in it, and the known words are looked up.
    """
    if word is None:
        message = _shorten(message)
        word, known = _rejected(message)
    if not word or not known:
        return message
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    return f"{message.rstrip('.')}{hint}\n  known: {', '.join(known)}"


def _shorten(message: str) -> str:
    """The innermost cause of a nested message, which is where the mistake is."""
    lines = [line.strip(" -") for line in message.strip().splitlines() if line.strip(" -")]
    telling = [line for line in lines if re.search(r"not accepted|has no attribute|must be|does not|cannot|which is not", line)]
    return "\n".join(dict.fromkeys(telling[-2:])) if telling else message.strip()


def _rejected(message: str) -> tuple[str | None, Sequence[str]]:
    """The word that a parser rejected, and those it would have taken."""
    key = re.search(r"(?:Option|Key|key) '([\w.]+)' is not (?:accepted|expected)", message)
    owner = re.search(r"class_path '([\w.]+)'", message)
    if key and owner:
        return key.group(1).split(".")[-1], _parameters(owner.group(1).split(".")[-1])
    name = re.search(r"has no attribute '(\w+)'|[Nn]ot a subclass[^']*'(\w+)'|class_path[^']*'(\w+)' ", message)
    if name:
        return next(group for group in name.groups() if group), sorted(_classes())
    return None, ()


def _classes() -> dict[str, type]:
    """Every class that a config may name by its short name."""
    import recsys.data
    import recsys.models
    import recsys.tables
    import recsys.tasks

    modules = (recsys.data, recsys.models, recsys.tables, recsys.tasks)
    return {name: value for module in modules for name, value in vars(module).items() if isinstance(value, type)}


def _parameters(class_name: str) -> Iterable[str]:
    import inspect

    found = _classes().get(class_name)
    return [] if found is None else [name for name in inspect.signature(found).parameters if name != "self"]
