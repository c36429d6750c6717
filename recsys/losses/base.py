"""What a next-item loss is given and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.losses.scoring import Scoring


@dataclass(frozen=True)
class Catalogue:
    """The items there are; their ids are 1..num_items.

    Args:
        num_items: V.
        counts: [V + 1] how often each id is a training event, None if unknown; entry 0 is of no item.
    """

    num_items: int
    counts: Tensor | None = None

    def ids(self, device: torch.device) -> Tensor:
        """All ids, ascending."""
        return torch.arange(1, self.num_items + 1, device=device)


@dataclass(frozen=True)
class Step:
    """One training step, before any vector has been read.

    Args:
        inputs: [N] ids of the events that the model reads.
        targets: [P] ids to be predicted.
        vectors: ids [M] -> item vectors [M, D]. Where rows are updated in the backward pass it may be called once a
            step: each call is an update, and a second one would read rows that the first is about to change.
        encode: input vectors [N, D] -> hidden states [P, D], one for each target.
        scoring: how hidden states and item vectors become scores.
        catalogue: the items there are.
        updates_in_backward: whether some rows are updated in the backward pass.
        num_targets: what a sum over the targets is divided by; P if None. Of several processes, each divides by the
            targets of all over the number of processes, so that the mean over processes is that of all targets.
    """

    inputs: Tensor
    targets: Tensor
    vectors: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]
    scoring: Scoring
    catalogue: Catalogue
    updates_in_backward: bool = False
    num_targets: float | Tensor | None = None

    def mean(self, total: Tensor) -> Tensor:
        """Mean over the targets, from the sum; 0 without any."""
        return total / (max(1, len(self.targets)) if self.num_targets is None else self.num_targets)


class Loss(ABC):
    """A loss of next-item prediction; it decides which items a step reads, in one lookup for inputs and outputs."""

    @abstractmethod
    def __call__(self, step: Step) -> Tensor:
        """Mean loss over the targets, a scalar."""


def read_once(vectors: Callable[[Tensor], Tensor], *groups: Tensor) -> tuple[Tensor, list[Tensor]]:
    """One lookup of the distinct ids among all groups.

    Returns:
        vectors [M, D] and, for every group, where each of its ids stands among them, in the group's shape.
    """
    flat = torch.cat([group.reshape(-1) for group in groups])
    distinct, where = torch.unique(flat, return_inverse=True)
    places = where.split([group.numel() for group in groups])
    return vectors(distinct), [place.view(group.shape) for place, group in zip(places, groups, strict=True)]
