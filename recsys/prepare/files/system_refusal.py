"""What the system refused, in a sentence: a full disk, a folder that may not be read."""

from __future__ import annotations

import os
import re


def system_refusal(error: BaseException) -> str | None:
    """What the system refused, and of which file; None if the error is another.

    Libraries in Rust (Polars, safetensors) raise errors of their own, with the system's number.

    >>> system_refusal(RuntimeError("I/O error: No space left on device (os error 28)"))
    'No space left on device.'
    """
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.strerror}: '{error.filename}'" if error.filename is not None else f"{error.strerror}."
    number = re.search(r"\(os error (\d+)\)", str(error))
    return None if number is None else f"{os.strerror(int(number[1]))}."
