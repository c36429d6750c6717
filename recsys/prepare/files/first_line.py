"""What a library says of a file, in one line: Arrow adds a schema below, Polars a hint."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    r"""The first line of an error's message.

    >>> first_line(ValueError("no column 'a' in b: int64\nc: double"))
    "no column 'a' in b: int64"
    """
    return (str(error).splitlines() or [type(error).__name__])[0]
