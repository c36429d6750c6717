"""A parser's dump about a class that does not fit its place, as one sentence."""

from __future__ import annotations

import ast
import re
from difflib import get_close_matches

from recsys.configuration.classes import classes_below
from recsys.configuration.type_errors import innermost

UNNAMED = ("TableTask", "LightningDataModule")
"""What stands for a class that has not been named yet."""


def odd_key(message: str) -> str | None:
    """A key that stands beside class_path and init_args, misspelt or of a line that is not indented as it should be."""
    place = re.search(r'Parser key "([\w.]+)"', message)
    given = re.search(r"^  Given value: (\{'class_path': .*\})$", message, re.MULTILINE)
    if place is None or given is None:
        return None
    try:
        keys = ast.literal_eval(given[1])
    except (ValueError, SyntaxError):
        return None
    odd = [key for key in keys if key not in ("class_path", "init_args", "dict_kwargs")]
    if not odd:
        return None
    close = get_close_matches(str(odd[0]), ("class_path", "init_args"), n=1)
    hint = f"did you mean '{close[0]}'?" if close else "is its line indented as it should be?"
    return f"'{odd[0]}' is not a key of {place[1]}, which has class_path and init_args; {hint}"


def tensor_wanted(message: str) -> str | None:
    """An argument of Python alone, of which a config has no values."""
    found = re.search(r"Subtypes: \[<class 'torch\.Tensor'>, <class 'NoneType'>\]", message)
    if found is None:
        return None
    place = ".".join(dict.fromkeys(re.findall(r'Parser key "([\w.]+)"', message[: found.start()])))
    return f"{place} takes a tensor, which no config can hold; leave it out, or build the object in Python."


def wrong_class(message: str) -> str | None:
    """What stands where a class of some kind should, or what it lacks; None if the message is about something else."""
    keys = dict.fromkeys(re.findall(r'Parser key "([\w.]+)"', message))
    if not keys:
        return None
    place = ".".join(keys)
    found = _of_several(place, message) or _lacking(place, message)
    return found or _of_another_kind(place, message) or _no_class(place, message) or _not_imported(place, message)


def no_class_or_none(message: str) -> str | None:
    """What is no word at a place that takes a class, or nothing at all; None if the message is about something else."""
    found = innermost(message)
    if found is None:
        return None
    place, said = found
    kinds = r"(?:(?:<class '(?:[\w.]+\.\w+|NoneType)'>|type\[[\w.]+\])(?:, )?)+"
    given = re.search(r"Given value: (.*?)(?:\. Got value: .*)?$", said, re.MULTILINE)
    if given is None or not re.search(rf"Subtypes: \[{kinds}\]\s+Errors:\s+- (?:Not a valid|Expected)", said):
        return None
    return f"{place} must be the name of a class, or {{class_path: NAME, init_args: {{...}}}}, got {given[1]}."


def _of_several(place: str, message: str) -> str | None:
    """A short name that several imported packages have, as torchrec has a DLRM, too."""
    found = re.search(
        r"Multiple subclasses with name (\w+)\. Give the full class path [^:]*: ([\w., ]+)\.$", message, re.M
    )
    if found is None:
        return None
    return f"{place}: several classes are named {found[1]}; write one in full: {found[2].replace(', ', ' or ')}."


def _lacking(place: str, message: str) -> str | None:
    """A class without some of its arguments."""
    found = re.search(
        r"the following arguments are required: ([\w, ]+)(?:\. Got value: Namespace\(class_path='[\w.]*?(\w+)')?",
        message,
    )
    if found is None:
        return None
    before = re.findall(r"class_path '[\w.]*?(\w+)'", message[: found.start()])
    owner = found[2] or (before[-1] if before else "the class")
    if owner in UNNAMED:
        known = ", ".join(name for name in classes_below(owner) if name != owner)
        return f"{place} must name a class: {{class_path: NAME, init_args: {{...}}}}.\n  known: {known}"
    missing = found[1].strip()
    arguments = ", ".join(f"{name}: ..." for name in missing.split(", "))
    return f"{place}: {owner} needs {missing}; write {{class_path: {owner}, init_args: {{{arguments}}}}}."


def _of_another_kind(place: str, message: str) -> str | None:
    """A class that is none of those that fit, such as a module where a table should be."""
    named = re.search(r"Expected '([\w.]+)' to be a subclass of <class '(?:[\w.]*\.)?(\w+)'>", message)
    kind = re.search(
        r"does not correspond to a subclass of (\w+)|import path corresponding to a type\[[\w.]*?(\w+)\]", message
    )
    if named:
        given, wanted = named[1], named[2]
    elif kind:
        value = re.search(r"Given value: (.*?)\.?$", message[kind.end() :], re.MULTILINE)
        given, wanted = value[1] if value else "another", kind[1] or kind[2]
    else:
        return None
    known = classes_below(wanted)
    listed = f"\n  known: {', '.join(known)}" if known else ""
    return f"{place} must be a {wanted}, got {given}.{listed}"


def _no_class(place: str, message: str) -> str | None:
    """What is neither the name of a class nor its class_path and init_args."""
    found = re.search(
        r"(?:Dict must include a class_path and optionally init_args|Expected an import path or a subclass spec), "
        r"but got (.+?)(?:\. Got value|$)|object has no attribute 'keys'\. Got value: (.+)$"
        r"|Not a valid subclass of \w+\. Got value: (.+)$",
        message,
        re.MULTILINE,
    )
    if found is None:
        return None
    given = found[1] or found[2] or found[3]
    return f"{place} must be the name of a class, or {{class_path: NAME, init_args: {{...}}}}, got {_in_yaml(given)}."


def _not_imported(place: str, message: str) -> str | None:
    """A whole name that leads to no module, or to what is not called for an object of the place."""
    found = re.search(
        r"expects a function or a callable class: (.+?)\.* Got value: ([\w.]*\.[\w.]+)$", message, re.MULTILINE
    )
    if found is None or "has no attribute" in found[1]:
        return None
    return f"{place}: '{found[2]}' is no class to be imported here ({found[1]}); write MODULE.CLASS, or a short name."


def _in_yaml(given: str) -> str:
    """A parser's record of a class as a config has it."""
    record = re.fullmatch(r"Namespace\(class_path='[\w.]*?(\w+)', init_args=(.+)\)", given)
    return f"{{class_path: {record[1]}, init_args: {record[2]}}}" if record else given
