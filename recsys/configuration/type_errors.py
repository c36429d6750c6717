"""A parser's dump about a value of the wrong type, as one sentence."""

from __future__ import annotations

import re

_NONE = "NoneType"
_CONTAINERS = {"list": "a list", "Sequence": "a list", "dict": "keys and values", "Mapping": "keys and values"}


def innermost(message: str) -> tuple[str, str] | None:
    """The place that a dump is about, and what it says of that; None if it names no place."""
    keys = list(re.finditer(r'Parser key "([\w.]+)"', message))
    return (".".join(dict.fromkeys(key[1] for key in keys)), message[keys[-1].end() :]) if keys else None


def wrong_type(message: str) -> str | None:
    """What must be of which type, and what was given; None if the message is about something else."""
    found = innermost(message)
    if found is None:
        return None
    place, last = found
    given = re.search(r"(?:Got value|Given value): (.*?)(?:\. Got value: .*)?$", last, re.MULTILINE)
    if given is None:
        return None
    said = last[: given.start()] + given[0]
    # What names no file and no class may be meant as neither.
    wanted = re.findall(r"Expected an? (?!path but|dot import)(.+?)(?:\. Got value|$)", said, re.MULTILINE)
    value, kinds = given[1], [kind for kind in map(_plainly, wanted) if kind != _NONE]
    if not kinds or value.startswith("NestedArg("):
        return None
    return f"{place} must be {' or '.join(kinds)}, got {value}{_hint(kinds, value)}."


def no_fit(message: str) -> str | None:
    """Where a value stands that fits no type of its place; None if the message is about something else."""
    found = innermost(message)
    if found is None:
        return None
    place, last = found
    given = re.search(r"Given value: (?!NestedArg)(.*?)(?:\. Got value: .*)?$", last, re.MULTILINE)
    return f"{place} cannot be {given[1]}." if given else None


def _plainly(kind: str) -> str:
    """The name of a type as people write it."""
    literal = re.fullmatch(r"typing\.Literal\[(.*)\]", kind)
    if literal:
        return f"one of {literal[1]}"
    named = re.fullmatch(r"<class '(?:[\w.]*\.)?(\w+)'>", kind)
    return _CONTAINERS.get(named[1], named[1]) if named else kind


def _hint(kinds: list[str], value: str) -> str:
    """A whole number written as a float is meant as one, and one value as a list of it."""
    if kinds == ["a list"] and re.fullmatch(r"(?!(?:[Tt]rue|[Ff]alse|[.]?inf|[.]?nan)$)[\w.*?/-]+", value):
        return f"; write [{value}]"
    is_whole = re.fullmatch(r"-?\d+\.0*|-?\d+(\.\d+)?[eE]\+?\d+", value) is not None
    return f"; write {int(float(value))}" if kinds == ["int"] and is_whole else ""
