"""What torch says of a checkpoint that it cannot load, in a sentence that names the file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Say what is wrong with a file that torch.load is reading.

    Raises:
        ValueError: if the file holds code, is cut off or damaged.
    """
    try:
        yield
    except UnpicklingError as error:
        # Torch's own message comes with the advice to let the code run, so it is not shown.
        asked = re.search(r"GLOBAL (\S+)", str(error))
        raise ValueError(
            f"checkpoint '{path}' holds more than tensors and plain values, and is not loaded because that could run "
            f"code{f': {asked[1]}' if asked else ''}."
        ) from None
    except Exception as error:
        # A damaged file can fail anywhere in a reader that trusts it.
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"checkpoint '{path}' cannot be read: {said}") from error
