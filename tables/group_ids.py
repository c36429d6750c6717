"""The ids that a batch has for the features of a group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from recsys.tables.distinct import Distinct
from recsys.tables.features import Bag
from recsys.tables.placement import widened


class Flat(Protocol):
    """Ids one after the other, feature after feature."""

    @property
    def ids(self) -> Tensor:
        """Numbers [N]."""

    @property
    def features(self) -> Tensor | None:
        """[N] in [0, G) that each belongs to; None where there is one feature."""

    @property
    def counts(self) -> list[int]:
        """Ids of each feature."""


@dataclass(frozen=True)
class Single:
    """The ids of features with one id per sample.

    Args:
        ids: [G, B]
        distinct: those without repeats, where that pays.
    """

    ids: Tensor
    distinct: Distinct | None

    @property
    def shape(self) -> tuple[int, int]:
        """Of the rows that are read, without their width: [B, G] or [M, 1]."""
        if self.distinct is not None:
            return len(self.distinct.ids), 1
        return self.ids.shape[1], len(self.ids)

    def tensors(self) -> list[Tensor]:
        """What it holds."""
        return [self.ids] if self.distinct is None else [self.ids, *self.distinct.tensors()]


class Ragged:
    """The ids of a group's bags, one after the other, and where each belongs.

    Args:
        joined: the bags of G features, of B samples each.
        counts: ids of each feature.
    """

    def __init__(self, joined: Bag, counts: Sequence[int]) -> None:
        self.ids = widened(joined.values)
        self.lengths = widened(joined.lengths)
        """[G * B]"""
        self.weights = joined.weights
        self.num_samples = len(joined.lengths) // len(counts)
        self.counts = list(counts)
        samples = torch.arange(len(self.lengths), device=self.lengths.device)
        self.samples = samples.repeat_interleave(self.lengths, output_size=len(joined.values))
        """[N] in [0, G * B): feature and sample of each id."""
        self.features = None if len(counts) == 1 else self.samples // max(1, self.num_samples)
        """[N] in [0, G)"""
        self.distinct: Distinct | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Of the rows that are read, without their width: [N, 1] or [M, 1]."""
        return len((self.distinct or self).ids), 1

    def tensors(self) -> list[Tensor]:
        """What it holds."""
        found = (self.ids, self.lengths, self.weights, self.samples, self.features)
        own = [tensor for tensor in found if tensor is not None]
        return own if self.distinct is None else [*own, *self.distinct.tensors()]
