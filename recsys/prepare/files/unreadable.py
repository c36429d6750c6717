"""What Arrow raises of a file that is damaged or of another kind."""

from __future__ import annotations

import os

import pyarrow as pa

from recsys.prepare.files.first_line import first_line

UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""The last of names of columns that are no UTF-8; missing columns are a KeyError."""


def why_unreadable(error: BaseException) -> str:
    """Why Arrow cannot read a file, in a line: the system refuses it, or it is not whole."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return f"truncated or damaged ({first_line(error)})"
