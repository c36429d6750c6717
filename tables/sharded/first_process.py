"""What one process of a group decides or does for all of them; without a group this process is the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

if dist.is_available():
    # Its functions take the default group of the moment they are made for a default argument. Imported later, as
    # torchrec and torch.distributed.checkpoint do, they would keep a group's threads beyond its end, and gloo's abort a
    # process that exits while one of them still has a tensor.
    import torch.distributed.nn.functional  # noqa: F401

T = TypeVar("T")


def has_group() -> bool:
    """Whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized()


def is_first() -> bool:
    """Whether it is the first of them, or alone."""
    return not has_group() or dist.get_rank() == 0


def first_decides(decide: Callable[[], T]) -> T:
    """What the first process makes, on all of them; what fails there fails everywhere, and nobody waits for it.

    Raises:
        ValueError: in all, where the first process refuses what the user gave.
        RuntimeError: in the others where it fails otherwise; the first raises what happened.
    """
    made: Any = None
    error: Exception | None = None
    if is_first():
        try:
            made = decide()
        except Exception as caught:
            error = caught
    refusal = isinstance(error, ValueError)
    said = None if error is None else str(error) if refusal else f"{type(error).__name__}: {error}"
    made, said, refusal = _of_first((made, said, refusal))
    if error is not None:
        raise error
    if said is not None:
        raise ValueError(said) if refusal else RuntimeError(f"the first process failed: {said}")
    return made


def _of_first(value: Any) -> Any:
    """The first process' value, on all of them."""
    if not has_group():
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]
