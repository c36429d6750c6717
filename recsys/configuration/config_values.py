"""What no config can mean, said with the file and the key before the parser guesses at it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_SECTION = "trainer"


def check_values(content: dict[str, Any], file: str) -> None:
    """Refuse keys that are no texts, classes without a name, texts that no file holds, and a trainer of no settings.

    Raises:
        ValueError: naming the file, the key and the value.
    """
    section = content.get(_SECTION)
    if section is not None and not isinstance(section, dict):
        raise ValueError(f"{file}: {_SECTION} must hold keys and values, got {section!r}.")
    for place, key, value in _entries(content, ""):
        if not isinstance(key, str):
            raise ValueError(f"key {key!r} of {file} must be a text{f', in {place}' if place else ''}; quote it.")
        name = f"{place}.{key}" if place else key
        if key == "class_path" and not (isinstance(value, str) and value):
            raise ValueError(f"'{name}' of {file} must be the name of a class, got {value!r}.")
        if isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
            raise ValueError(f"'{name}' of {file} holds a character that no text has, got {value!r}.")


def _entries(value: Any, place: str) -> Iterator[tuple[str, Any, Any]]:
    """Where each key stands, the key and its value, of all mappings there are."""
    if isinstance(value, dict):
        for key, held in value.items():
            yield place, key, held
            yield from _entries(held, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for held in value:
            yield from _entries(held, place)


def _is_unicode(text: str) -> bool:
    """Whether it is without halves of surrogate pairs, which have no bytes."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
