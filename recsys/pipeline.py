"""The pipelined step: the next batch's ids travel to their rows while a batch is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, pairwise
from typing import Any

import torch

from recsys.batch import Batch


class Lookahead:
    """A loader that is read one batch ahead; in everything else it is the loader.

    Args:
        loader: of batches.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._handed_out: Any = None
        self._following: Any = None

    def __iter__(self) -> Iterator[Any]:
        """The loader's batches."""
        for batch, following in pairwise(chain(self._loader, [None])):
            self._handed_out, self._following = batch, following
            yield batch

    def following(self, batch: Any) -> Any:
        """The batch after the one handed out last, None if there is none or `batch` is another."""
        return self._following if batch is self._handed_out else None

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


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
        self._source: Any = None
        self._batch: Batch | None = None

    def begin(self, batch: Any) -> None:
        """Before a step: move the batch after it, and tell all processes how many ids they are sent."""
        with self._beside():
            self._source, self._batch = batch, self._start(self._move(batch))

    def advance(self) -> None:
        """After a step's forward pass: send the ids."""
        if self._batch is not None and self._batch.started is not None:
            with self._beside():
                self._batch.started.lookup.advance()

    def take(self, batch: Any) -> Batch | None:
        """The batch on the device, its ids with their rows; None if it is another than the one that was begun."""
        if batch is not self._source or self._batch is None:
            return None
        moved = self._batch
        self._source = self._batch = None
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
