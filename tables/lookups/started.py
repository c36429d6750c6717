"""Lookups that are begun ahead of their step: row numbers travel while another batch is computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class InputDistribution(ABC):
    """Row numbers on their way to the processes that hold their rows.

    All processes must take every step of it together. Each step begins where the one before was waited for; it may run
    on a CUDA stream of its own.
    """

    @abstractmethod
    def advance(self) -> None:
        """Wait until all know how much they are sent, and send the row numbers."""

    @abstractmethod
    def finish(self) -> None:
        """Wait for the row numbers."""

    @abstractmethod
    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory until this stream has used it."""


@dataclass(frozen=True)
class StartedLookup:
    """A lookup whose row numbers are on their way, one distribution per store; None where they are at hand."""

    distributions: Sequence[InputDistribution | None]

    def advance(self) -> None:
        """See InputDistribution."""
        for each in self._travelling():
            each.advance()

    def finish(self) -> None:
        """See InputDistribution."""
        for each in self._travelling():
            each.finish()

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """See InputDistribution."""
        for each in self._travelling():
            each.record_stream(stream)

    def _travelling(self) -> list[InputDistribution]:
        return [each for each in self.distributions if each is not None]


class StartedBatch:
    """What a collection has done for a batch ahead of its step.

    Args:
        ids: the tensors that the batch's ids are in.
        rows: the row numbers [S, N] of every request.
        lookup: on its way.
    """

    def __init__(self, ids: Sequence[Tensor], rows: Sequence[Tensor], lookup: StartedLookup) -> None:
        self._ids = [(tensor, tensor._version) for tensor in ids]
        self.rows = rows
        self.lookup = lookup

    def is_of(self, ids: Sequence[Tensor]) -> bool:
        """Whether these are the tensors it was started for, unchanged since."""
        return len(ids) == len(self._ids) and all(
            tensor is known and tensor._version == version
            for tensor, (known, version) in zip(ids, self._ids, strict=True)
        )

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory until this stream has used it."""
        for rows in self.rows:
            rows.record_stream(stream)
        self.lookup.record_stream(stream)
