"""What a next-item loss reads, what it is given and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.argument_types import check_fields
from recsys.losses.scoring import Scoring
from recsys.models.checks import check_at_least


@dataclass(frozen=True)
class Catalogue:
    """The items there are; their ids are 1..num_items.

    Args:
        num_items: V.
        counts: [V + 1] how often each id is a training event, None if unknown; entry 0 is of no item.
    """

    num_items: int
    counts: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse no items, and counts of others."""
        check_fields(self)
        check_at_least("Catalogue", "num_items", self.num_items, 1)
        if self.counts is not None and self.counts.shape != (self.num_items + 1,):
            raise ValueError(
                f"Catalogue: counts must be [num_items + 1 = {self.num_items + 1}], got {list(self.counts.shape)}."
            )
        if self.counts is not None:
            _check_counts(self.counts)

    def ids(self, device: torch.device) -> Tensor:
        """All ids, ascending."""
        return torch.arange(1, self.num_items + 1, device=device)


def _check_counts(counts: Tensor) -> None:
    if counts.dtype == torch.bool or counts.is_complex() or counts.layout != torch.strided:
        raise ValueError(f"Catalogue: counts must be real numbers, got {counts.dtype} on '{counts.device}'.")
    if counts.device.type == "cpu" and not bool((counts.isfinite() & (counts >= 0)).all()):
        raise ValueError(f"Catalogue: counts must be finite and at least 0, got {float(counts.min())} and more.")


@dataclass(frozen=True)
class ItemReader:
    """Reads vectors of items.

    Args:
        catalogue: the items there are.
        vectors: ids [M] -> item vectors [M, D].
    """

    catalogue: Catalogue
    vectors: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        """Refuse fields of another type."""
        check_fields(self)

    def read(self, ids: Tensor) -> Tensor:
        """Vectors of ids [M] -> [M, D].

        Raises:
            ValueError: if what reads them gives anything else.
        """
        found = self.vectors(ids)
        is_fine = isinstance(found, Tensor) and found.is_floating_point() and found.dim() == 2
        if not is_fine or found.shape[0] != ids.shape[0]:
            got = f"{list(found.shape)} of {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"ItemReader: vectors must give floats [{ids.shape[0]}, D], a vector for each id, got {got}."
            )
        return found

    def together(self, *groups: Tensor) -> list[Tensor]:
        """Vectors of several groups of ids, from one lookup: [...] each -> [..., D] each."""
        vectors = self.read(torch.cat([group.reshape(-1) for group in groups]))
        parts = vectors.split([group.numel() for group in groups])
        return [part.view(*group.shape, vectors.shape[1]) for part, group in zip(parts, groups, strict=True)]


@dataclass(frozen=True)
class Reading:
    """What a loss has had read for a step.

    Args:
        reader: what has read it.
        inputs: [M, D] of the events that the model reads.
        targets: [P] ids to be named.
        positives: [P, D] of the targets; None where the negatives are all items, these among them.
        drawn: ids [K], shared by all targets, or [P, K] that a target is scored against; None for all items.
        negatives: [K, D] or [P, K, D] of those; None where they are read a chunk at a time.
    """

    reader: ItemReader
    inputs: Tensor
    targets: Tensor
    positives: Tensor | None = None
    drawn: Tensor | None = None
    negatives: Tensor | None = None


class Loss(ABC):
    """A loss of next-item prediction; it decides which items a step reads, beside those that the model reads."""

    @abstractmethod
    def read(self, reader: ItemReader, inputs: Tensor, targets: Tensor) -> Reading:
        """Read what a step needs: ids of the events [M] that the model reads, and of the targets [P]."""

    @abstractmethod
    def __call__(self, hidden: Tensor, reading: Reading, scoring: Scoring) -> Tensor:
        """Sum over the targets, from scores in float32 whatever the precision around them.

        Shape:
            hidden [P, D], the states that are to name the targets -> scalar
        """
