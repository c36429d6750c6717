"""Lookups that are begun ahead of their step: row numbers travel while another batch is computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch


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
