"""What stands between the values of a line, in words."""

from __future__ import annotations


def in_words(separator: str | bytes) -> str:
    """A tab and a space by name, which nobody sees in quotes; others in quotes."""
    text = separator if isinstance(separator, str) else separator.decode("latin-1")
    return {"\t": "a tab", " ": "a space"}.get(text, repr(text))
