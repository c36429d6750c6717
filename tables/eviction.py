"""Which ids keep a row when there are more ids than rows: torchrec's eviction policies, as values.

torchrec is imported when a policy is first applied.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from recsys.argument_types import check_fields


class EvictionPolicy(ABC):
    """Scores ids after every interval of batches; those with the highest scores have rows.

    Where scores are equal, an id that has a row keeps it, and of two that have none the more frequent comes first.
    """

    counters: ClassVar[tuple[str, ...]]
    """What is kept of every id that has a row, one int64 each, in torchrec's words."""

    @abstractmethod
    def build(self) -> Any:
        """The policy as torchrec's MCHEvictionPolicy."""


@dataclass(frozen=True)
class LRU(EvictionPolicy):
    """The ids seen least recently lose their rows; recency counts intervals."""

    counters: ClassVar[tuple[str, ...]] = ("last_access_iter",)

    def build(self) -> Any:
        """See EvictionPolicy."""
        from torchrec.modules.mc_modules import LRU_EvictionPolicy

        return LRU_EvictionPolicy()


@dataclass(frozen=True)
class LFU(EvictionPolicy):
    """The ids seen least often lose their rows.

    An id with a row counts from the interval that gave it one; a newcomer is judged by one interval alone, so ids that
    were frequent once keep their rows for long: where ids drift, choose DistanceLFU.
    """

    counters: ClassVar[tuple[str, ...]] = ("counts",)

    def build(self) -> Any:
        """See EvictionPolicy."""
        from torchrec.modules.mc_modules import LFU_EvictionPolicy

        return LFU_EvictionPolicy()


@dataclass(frozen=True)
class DistanceLFU(EvictionPolicy):
    """The ids with the smallest count / (intervals since last seen + 1) ** decay_exponent lose their rows.

    Args:
        decay_exponent: how fast an id that is no longer seen falls behind, above 0. torchrec's default of 1 let faded
            ids keep their rows longer than was good at every speed of drift tried, none included.

    Raises:
        ValueError: unless decay_exponent is above 0.
    """

    decay_exponent: float = 2.0

    counters: ClassVar[tuple[str, ...]] = ("counts", "last_access_iter")

    def __post_init__(self) -> None:
        """Refuse an exponent that would favour ids no longer seen."""
        check_fields(self)
        if not 0 < self.decay_exponent < math.inf:
            raise ValueError(f"DistanceLFU: decay_exponent must be finite and above 0, got {self.decay_exponent!r}.")

    def build(self) -> Any:
        """See EvictionPolicy."""
        from torchrec.modules.mc_modules import DistanceLFU_EvictionPolicy

        return DistanceLFU_EvictionPolicy(self.decay_exponent)
