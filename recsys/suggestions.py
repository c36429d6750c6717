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
        # The class named last is the innermost.
        owners = re.findall(r"class_path '[\w.]*?(\w+)'", message[: option.start()])
        accepted = _parameters(owners[-1]) if owners else []
        path = option.group(1).split(".")
        # What is right below a misspelt word is rejected with it.
        rejected = path[0] if accepted and path[0] not in (*accepted, "init_args") else path[-1]
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
        place = re.findall(r'Parser key "([\w.]+)"', message[: name.start()])
        if place and place[-1] == "trainer.strategy":
            return _of_strategy(rejected, message)
        if place and place[-1] == "constraints":
            return _of_constraint(rejected)
        return _suggest(f"there is no class '{rejected}'", rejected, sorted(_classes()), sorted(_own_classes()))
    return message


def _suggest(message: str, word: str, candidates: Sequence[str], known: Sequence[str]) -> str:
    close = get_close_matches(word, candidates, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else "."
    listed = f"\n  known: {', '.join(known)}" if known and not (close and close[0] not in known) else ""
    return f"{message}{hint}{listed}"


def _of_strategy(rejected: str, message: str) -> str:
    """An unknown class of strategy, or arguments given to the short name, which takes none."""
    from recsys.sharding import NAME

    if rejected != NAME:
        return _suggest(f"there is no strategy class '{rejected}'", rejected, ["TorchrecStrategy"], ())
    known, said = _parameters("TorchrecStrategy"), f"'{NAME}' is a short name, which takes no arguments; "
    given = re.search(r"NestedArg\(key='(\w+)'", message)
    if given is None or given.group(1) in ("class_path", "init_args"):
        return f"{said}its class is class_path: TorchrecStrategy\n  its arguments: {', '.join(known)}"
    close = get_close_matches(given.group(1), known, n=1)
    if not close:
        return _suggest(f"'{given.group(1)}' is not an argument of TorchrecStrategy", given.group(1), (), known)
    return f"{said}did you mean --trainer.strategy TorchrecStrategy --trainer.strategy.{close[0]} VALUE?"


def _of_constraint(rejected: str) -> str:
    """A word where a TableSharding should be."""
    from recsys.tables.placements import SHARDING_TYPES
    from recsys.tables.sharding_plan import COMPUTE_KERNELS

    close = get_close_matches(rejected, (*SHARDING_TYPES, *COMPUTE_KERNELS), n=1)
    word = close[0] if close else SHARDING_TYPES[0]
    key = "compute_kernel" if word in COMPUTE_KERNELS else "sharding_type"
    return (
        f"constraints: a matrix needs a sharding_type, a compute_kernel or both, got '{rejected}'; "
        f"did you mean {{{key}: {word}}}?"
    )


def _own_classes() -> dict[str, type]:
    """Every class of this project that a config may name by its short name."""
    import recsys.data
    import recsys.models
    import recsys.tables
    import recsys.tasks
    from recsys.sharding import TorchrecStrategy

    modules = (recsys.data, recsys.models, recsys.tables, recsys.tasks)
    found = {name: value for module in modules for name, value in vars(module).items() if isinstance(value, type)}
    return {**found, "TorchrecStrategy": TorchrecStrategy}


def _classes() -> dict[str, type]:
    """Those, Lightning's callbacks and the trainer."""
    from lightning.pytorch import Trainer, callbacks

    theirs = {name: value for name, value in vars(callbacks).items() if isinstance(value, type)}
    return {**theirs, "Trainer": Trainer, **_own_classes()}


def _parameters(class_name: str) -> list[str]:
    import inspect

    found = _classes().get(class_name)
    return [] if found is None else [name for name in inspect.signature(found).parameters if name != "self"]
