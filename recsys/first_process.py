"""What one process of a group decides or does for all of them; without a group this process is the first."""

from __future__ import annotations

from collections.abc import Callable

import torch.distributed as dist


def has_group() -> bool:
    """Whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized()


def is_first() -> bool:
    """Whether it is the first of them, or alone."""
    return not has_group() or dist.get_rank() == 0


def first_does(action: Callable[[], None]) -> None:
    """The first process acts, and the others wait for it; what fails there fails everywhere.

    Raises:
        ValueError: in all, where the first process refuses what the user gave.
        OSError: in the others where it fails otherwise; the first raises what happened.
    """
    error: Exception | None = None
    if is_first():
        try:
            action()
        except Exception as caught:
            error = caught
    said = agree("" if error is None else f"{type(error).__name__}: {error}")
    if error is not None:
        raise error
    kind, _, words = said.partition(": ")
    if kind == ValueError.__name__:
        raise ValueError(words)
    if said:
        raise OSError(f"the first process could not write the checkpoint: {said}")


def agree(text: str) -> str:
    """The first process' text, on all of them."""
    if not has_group():
        return text
    texts = [text]
    dist.broadcast_object_list(texts, src=0)
    return texts[0]
