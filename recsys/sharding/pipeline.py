"""The pipelined step: the next batch's ids travel to their rows while a batch is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, pairwise
from typing import Any

import torch
from lightning.fabric.utilities.data import sized_len
from lightning.pytorch.utilities.model_helpers import is_overridden

from recsys.data.batch import Batch
from recsys.data.resumable import ResumableLoader

_BATCH_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def why_plain(trainer: Any, module: Any, loader: Any) -> str | None:
    """Why the steps on a loader's batches cannot be pipelined; None if they can."""
    if not callable(getattr(module, "start_lookup", None)):
        return f"{type(module).__name__} has no start_lookup, so its ids are not known before the step"
    for owner in (module, getattr(trainer, "datamodule", None)):
        changed = [name for name in _BATCH_HOOKS if is_overridden(name, owner)]
        if changed:
            return f"{type(owner).__name__}.{changed[0]} would meet each batch too early"
    if sized_len(loader) is None:
        return "the train loader has no length"
    # A loader that knows its trainer's progress does not take a batch read ahead for one trained on.
    counts_steps = isinstance(loader, ResumableLoader) and loader.progress is not None
    if hasattr(loader, "state_dict") and not counts_steps:
        return f"{type(loader).__name__} keeps its own position, which a batch read ahead would move"
    return None


class Lookahead:
    """A loader that is read one batch ahead; in everything else it is the loader.

    Args:
        loader: of batches.
    """

    _OWN = ("loader", "position", "following")

    def __init__(self, loader: Any) -> None:
        self.loader = loader
        self.position = 0
        """Batches handed out so far, over all epochs."""
        self.following: Any = None
        """The batch after the one handed out last; None if there is none."""

    def __iter__(self) -> Iterator[Any]:
        """The loader's batches."""
        for batch, following in pairwise(chain(self.loader, [None])):
            self.position, self.following = self.position + 1, following
            yield batch

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """What the trainer sets, such as a worker's seeding, is set on the loader."""
        if name in self._OWN:
            super().__setattr__(name, value)
        else:
            setattr(self.loader, name, value)


class InputPipeline:
    """Moves the next batch to the device and sends its ids to their rows, beside the computation of another.

    Every process must call every method in the same order. On a GPU all of it runs on a stream of its own.

    Args:
        device: of this process.
        move: a batch to the device.
        start: begins the lookups of a batch there, and returns it with them.
    """

    def __init__(self, device: torch.device, move: Callable[[Any], Any], start: Callable[[Any], Batch]) -> None:
        self._move = move
        self._start = start
        self._stream = torch.cuda.Stream(device, priority=-1) if device.type == "cuda" else None
        self._position = 0
        self._batch: Batch | None = None

    def begin(self, batch: Batch, position: int) -> None:
        """Before a step: move the batch after it, and tell all processes how many ids they are sent.

        Args:
            batch: as its loader made it.
            position: of this batch among all that are handed out.
        """
        with self._beside():
            self._position, self._batch = position, self._start(self._move(batch))

    def advance(self) -> None:
        """After a step's forward pass: send the ids."""
        if self._batch is not None and self._batch.started is not None:
            with self._beside():
                self._batch.started.lookup.advance()

    def take(self, position: int) -> Batch | None:
        """The batch of a position on the device, its ids with their rows; None if it was not begun."""
        if self._batch is None or position != self._position:
            return None
        moved, self._batch = self._batch, None
        with self._beside():
            if moved.started is not None:
                moved.started.lookup.finish()
        if self._stream is not None:
            current = torch.cuda.current_stream(self._stream.device)
            current.wait_stream(self._stream)
            moved.record_stream(current)
        return moved

    def _beside(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
