"""Where negatives come from, and how likely each item is to be one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from recsys.argument_types import fits_memory, typed
from recsys.losses.base import Catalogue
from recsys.losses.checks import check_item_ids
from recsys.models.checks import check_at_least


class Sampler(ABC):
    """Draws items as negatives; an item may be drawn more than once, and may be somebody's target."""

    @abstractmethod
    def draw(self, targets: Tensor, catalogue: Catalogue) -> Tensor:
        """Ids [K], shared by all targets, or [P, K], for each target its own; targets [P]."""

    @abstractmethod
    def log_probability(self, ids: Tensor, catalogue: Catalogue) -> Tensor:
        """Log of the chance that one draw gives each id, up to a constant: ids [...] -> [...]."""


class UniformSampler(Sampler):
    """Every item is as likely as every other.

    Args:
        num_negatives: K.
        per_target: draw K for every target; else all targets of a batch share K.

    Raises:
        ValueError: if num_negatives is below 1.
    """

    @typed
    def __init__(self, num_negatives: int = 256, per_target: bool = False) -> None:
        check_at_least("UniformSampler", "num_negatives", num_negatives, 1)
        self.num_negatives = num_negatives
        self.per_target = per_target

    def draw(self, targets: Tensor, catalogue: Catalogue) -> Tensor:
        """See Sampler."""
        check_item_ids("UniformSampler", "targets", targets, catalogue, dims=1)
        shape = (len(targets), self.num_negatives) if self.per_target else (self.num_negatives,)
        points = _stratified(shape, targets.device) * catalogue.num_items
        return points.long().clamp(max=catalogue.num_items - 1) + 1

    def log_probability(self, ids: Tensor, catalogue: Catalogue) -> Tensor:
        """A constant."""
        check_item_ids("UniformSampler", "ids", ids, catalogue)
        return torch.zeros(ids.shape, device=ids.device)


class PopularitySampler(Sampler):
    """Items are drawn by their training count to a power.

    Args:
        num_negatives: K.
        per_target: draw K for every target; else all targets of a batch share K.
        exponent: of the counts; 0 is uniform.

    Raises:
        ValueError: if num_negatives is below 1 or exponent is negative; in `draw`, without counts.
    """

    @typed
    def __init__(self, num_negatives: int = 256, per_target: bool = False, exponent: float = 0.75) -> None:
        check_at_least("PopularitySampler", "num_negatives", num_negatives, 1)
        check_at_least("PopularitySampler", "exponent", exponent, 0)
        self.num_negatives = num_negatives
        self.per_target = per_target
        self.exponent = exponent

    def draw(self, targets: Tensor, catalogue: Catalogue) -> Tensor:
        """See Sampler."""
        check_item_ids("PopularitySampler", "targets", targets, catalogue, dims=1)
        shape = (len(targets), self.num_negatives) if self.per_target else (self.num_negatives,)
        edges = self._weights(catalogue).cumsum(0)
        points = _stratified(shape, edges.device) * edges[-1]
        return torch.searchsorted(edges, points, right=True).clamp(max=catalogue.num_items - 1) + 1

    def log_probability(self, ids: Tensor, catalogue: Catalogue) -> Tensor:
        """Log count times the exponent."""
        check_item_ids("PopularitySampler", "ids", ids, catalogue)
        return self._weights(catalogue).log().float()[ids - 1]

    def _weights(self, catalogue: Catalogue) -> Tensor:
        # An item never seen in training has the weight of one seen once, so that its logarithm is finite.
        return _counts("PopularitySampler", catalogue)[1:].clamp(min=1).double() ** self.exponent


class InBatchSampler(Sampler):
    """The targets of the batch are each other's negatives; no further item is read.

    An item is in a batch as often as in the data: the chance is its training count.
    """

    def draw(self, targets: Tensor, catalogue: Catalogue) -> Tensor:
        """The targets, shared."""
        check_item_ids("InBatchSampler", "targets", targets, catalogue, dims=1)
        return targets

    def log_probability(self, ids: Tensor, catalogue: Catalogue) -> Tensor:
        """Log of the training count."""
        check_item_ids("InBatchSampler", "ids", ids, catalogue)
        return _counts("InBatchSampler", catalogue)[ids].clamp(min=1).float().log()


def _stratified(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Even draws from [0, 1), one from each of K equal parts: float64 [..., K], ascending.

    Each id is drawn as often in the mean as by independent draws, and sums over the draws vary less: no more negatives
    than items, drawn evenly, hold no item more than twice.
    """
    num_negatives = shape[-1]
    with fits_memory(f"num_negatives={num_negatives}"):
        starts = torch.arange(num_negatives, dtype=torch.float64, device=device)
        return (starts + torch.rand(shape, dtype=torch.float64, device=device)) / num_negatives


def _counts(sampler: str, catalogue: Catalogue) -> Tensor:
    if catalogue.counts is None:
        raise ValueError(f"{sampler} needs the items' training counts; the data have none. Use UniformSampler.")
    return catalogue.counts
