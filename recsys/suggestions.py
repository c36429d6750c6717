"""Turns a parser's complaint into what the user meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

_SECTIONS = ("seed_everything", "model", "data", "trainer", "ckpt_path")


def explain(message: str, word: str | None = None, known: Sequence[str] = ()) -> str:
    """The message with "did you mean" and the words that exist.

    Without `word`, the message is a parser's: its cause is taken out of the nesting, and the word that it rejects is
    compared with the words that would have been right there.
    """
    if word is not None:
        return _suggest(message, word, known, known)
    own = re.search(r"^\s*- (\w+: .+, got .+\.)$", message, re.MULTILINE)
    if own:
        return own.group(1)
    option = re.search(r"[Oo]ption '([\w.]+)' is not accepted", message)
    if option:
        rejected = option.group(1).split(".")[-1]
        owner = re.search(r"class_path '[\w.]*?(\w+)'", message)
        accepted = _parameters(owner.group(1)) if owner else []
        ours = [name for kind in _own_classes() for name in _parameters(kind)]
        everywhere = [name for kind in _classes() for name in _parameters(kind)]
        nearest = next((words for words in (accepted, ours) if get_close_matches(rejected, words, 1)), everywhere)
        return _suggest(f"'{rejected}' is not an argument here", rejected, nearest, accepted)
    section = re.search(r"does not accept option '(trainer\.)?(\w+)", message)
    if section:
        known = _parameters("Trainer") if section.group(1) else _SECTIONS
        return _suggest(f"'{section.group(2)}' is not a key here", section.group(2), known, known)
    flag = re.search(r"[Uu]nrecognized arguments: --(trainer\.)?(\w+)", message)
    if flag:
        known = _parameters("Trainer") if flag.group(1) else _SECTIONS
        return _suggest(f"'{flag.group(2)}' is not an argument here", flag.group(2), known, known)
    name = re.search(r"path string: (\w+)|has no attribute '(\w+)'", message)
    if name:
        rejected = name.group(1) or name.group(2)
        return _suggest(f"there is no class '{rejected}'", rejected, sorted(_classes()), sorted(_own_classes()))
    return message


def _suggest(message: str, word: str, candidates: Sequence[str], known: Sequence[str]) -> str:
    close = get_close_matches(word, candidates, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    listed = f"\n  known: {', '.join(known)}" if known and not (close and close[0] not in known) else ""
    return f"{message}{hint}{listed}"


def _own_classes() -> dict[str, type]:
    """Every class of this project that a config may name by its short name."""
    import recsys.data
    import recsys.models
    import recsys.tables
    import recsys.tasks

    modules = (recsys.data, recsys.models, recsys.tables, recsys.tasks)
    return {name: value for module in modules for name, value in vars(module).items() if isinstance(value, type)}


def _classes() -> dict[str, type]:
    """Those, Lightning's callbacks and the trainer."""
    from lightning.pytorch import Trainer, callbacks

    theirs = {name: value for name, value in vars(callbacks).items() if isinstance(value, type)}
    return {**theirs, "Trainer": Trainer, **_own_classes()}


def _parameters(class_name: str) -> list[str]:
    import inspect

    found = _classes().get(class_name)
    return [] if found is None else [name for name in inspect.signature(found).parameters if name != "self"]
