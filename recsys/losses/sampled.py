"""Losses that score each target against a few negatives and so touch few rows."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.argument_types import typed
from recsys.losses.base import Catalogue, ItemReader, Loss, Reading
from recsys.losses.checks import check_called, check_drawn, check_read, check_sides
from recsys.losses.powers import Candidates
from recsys.losses.samplers import Sampler, UniformSampler
from recsys.losses.scoring import Scoring, item_side, query_side, scores_of_drawn
from recsys.losses.totals import sum_of_log_totals
from recsys.models.checks import check_share


class SampledLoss(Loss):
    """A loss of scores of targets and negatives; inputs, targets and negatives are read in one lookup.

    A negative that is its row's target counts for nothing.

    Args:
        sampler: where negatives come from.
    """

    @typed
    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def read(self, reader: ItemReader, inputs: Tensor, targets: Tensor) -> Reading:
        """Draw the negatives, and read everything together."""
        check_read(type(self).__name__, reader, inputs, targets)
        drawn = self.sampler.draw(targets, reader.catalogue)
        check_drawn(type(self.sampler).__name__, drawn, reader.catalogue, len(targets))
        read, positives, negatives = reader.together(inputs, targets, drawn)
        return Reading(reader, read, targets, positives, drawn, negatives)

    def __call__(self, hidden: Tensor, reading: Reading, scoring: Scoring) -> Tensor:
        """See Loss."""
        check_called(type(self).__name__, hidden, reading)
        assert reading.drawn is not None
        assert reading.positives is not None
        assert reading.negatives is not None
        queries, negatives = query_side(scoring, hidden), item_side(scoring, reading.negatives)
        check_sides(type(self).__name__, queries, negatives)
        positive = (queries * item_side(scoring, reading.positives)).sum(1)
        draw = Draw(reading.targets, reading.drawn, reading.reader.catalogue)
        return self.of_vectors(draw, positive, queries, negatives)

    def of_vectors(self, draw: Draw, positive: Tensor, queries: Tensor, negatives: Tensor) -> Tensor:
        """Sum over the targets, from vectors of negatives.

        Shape:
            positive [P] scores of the targets, queries [P, D], negatives [K, D] or [P, K, D] -> scalar
        """
        return self.of_scores(draw, positive, scores_of_drawn(queries, negatives))

    @abstractmethod
    def of_scores(self, draw: Draw, positive: Tensor, negative: Tensor) -> Tensor:
        """Sum over the targets, from scores.

        Shape:
            positive [P], negative [P, K] -> scalar
        """


class SampledSoftmax(SampledLoss):
    """Softmax cross-entropy of the target among the negatives drawn for it.

    Every score, the target's too, is lowered by the log of its item's chance of being drawn (Yi et al., RecSys 2019),
    so that frequent items are not pushed down for being drawn often. With even chances that changes nothing, and the
    loss is the sampled softmax of HSTU.

    Args:
        sampler: where negatives come from; by default 256 drawn evenly, shared by the batch.
    """

    @typed
    def __init__(self, sampler: Sampler | None = None) -> None:
        super().__init__(sampler or UniformSampler())

    def of_vectors(self, draw: Draw, positive: Tensor, queries: Tensor, negatives: Tensor) -> Tensor:
        """See SampledLoss; with shared negatives no scores outlive their block."""
        if draw.drawn.dim() == 2 or not len(draw.drawn):
            return super().of_vectors(draw, positive, queries, negatives)
        own = positive - self._log_chances(draw.targets, draw.catalogue)
        log_times, excluded = draw.distinct()
        log_weights = log_times - self._log_chances(draw.drawn, draw.catalogue)
        return sum_of_log_totals(queries, negatives, own, Candidates(log_weights, excluded)) - own.sum()

    def of_scores(self, draw: Draw, positive: Tensor, negative: Tensor) -> Tensor:
        """See SampledLoss."""
        positive = positive - self._log_chances(draw.targets, draw.catalogue)
        negative = negative - self._log_chances(draw.drawn, draw.catalogue)
        negative = negative.masked_fill(draw.is_target(), -torch.inf)
        total = torch.cat([positive.unsqueeze(1), negative], dim=1).logsumexp(1)
        return (total - positive).sum()

    def _log_chances(self, ids: Tensor, catalogue: Catalogue) -> Tensor:
        """What the sampler says of ids [...] -> [...].

        Raises:
            ValueError: if it says no number of each.
        """
        found = self.sampler.log_probability(ids, catalogue)
        if not isinstance(found, Tensor) or not found.is_floating_point() or found.shape != ids.shape:
            got = f"{list(found.shape)} of {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"{type(self.sampler).__name__}: log_probability() must give floats {list(ids.shape)}, one for each "
                f"id, got {got}."
            )
        return found


class GBCE(SampledLoss):
    """Generalised binary cross-entropy (Petrov and Macdonald, RecSys 2023, arXiv:2308.07192).

    The target's probability is raised to the power beta, which undoes the overconfidence that few negatives cause. Its
    logarithm is beta * log sigmoid(score), so the transformed logit of the paper, and its float64, are not needed.

    Differs from the authors' code: negatives are shared by the batch unless the sampler is told otherwise, where theirs
    are drawn for every target; one that is the target counts for nothing.

    Args:
        sampler: where negatives come from; by default 256 drawn evenly, shared by the batch.
        calibration: t in [0, 1]; 0 is binary cross-entropy, 1 is fully calibrated.

    Raises:
        ValueError: if calibration is outside [0, 1].
    """

    @typed
    def __init__(self, sampler: Sampler | None = None, calibration: float = 0.75) -> None:
        super().__init__(sampler or UniformSampler())
        check_share(type(self).__name__, "calibration", calibration)
        self.calibration = calibration

    def of_scores(self, draw: Draw, positive: Tensor, negative: Tensor) -> Tensor:
        """See SampledLoss."""
        num_negatives = negative.shape[1]
        beta = self.beta(num_negatives, draw.catalogue.num_items)
        counted = F.softplus(negative).masked_fill(draw.is_target(), 0.0)
        return (beta * F.softplus(-positive).sum() + counted.sum()) / (num_negatives + 1)

    def beta(self, num_negatives: int, num_items: int) -> float:
        """Power of the target's probability, between the sampling rate and 1."""
        rate = min(1.0, num_negatives / max(1, num_items - 1))
        return 1.0 - self.calibration * (1.0 - rate)


class BinaryCrossEntropy(GBCE):
    """Target against negatives, each a yes or no, as the original SASRec with one negative for every target.

    Differs from the authors' code: theirs draws no item of the user's sequence as a negative; here only the row's own
    target counts for nothing, and other items of the sequence may be drawn. The mean is over targets and negatives
    alike, where theirs adds the two means, which with one negative is twice as much.

    Args:
        sampler: where negatives come from; by default one drawn evenly for every target.
    """

    @typed
    def __init__(self, sampler: Sampler | None = None) -> None:
        super().__init__(sampler or UniformSampler(1, per_target=True), calibration=0.0)


@dataclass(frozen=True)
class Draw:
    """Targets and what has been drawn for them.

    Args:
        targets: [P] ids.
        drawn: [K] ids, or [P, K].
        catalogue: the items there are.
    """

    targets: Tensor
    drawn: Tensor
    catalogue: Catalogue

    def is_target(self) -> Tensor:
        """Which negatives are their row's target: bool [P, K]."""
        return self.drawn.expand(len(self.targets), -1) == self.targets.unsqueeze(1)

    def distinct(self) -> tuple[Tensor, Tensor]:
        """Shared negatives with each id at one place alone, so that a target is at most one of them.

        Returns:
            Log of how often each id is drawn [K], where it is drawn first, and -inf where it is drawn again; and the
            place of every target [P], K where it is not drawn. All without a comparison of all with all.
        """
        ascending, order = self.drawn.sort(stable=True)
        begin, end = torch.searchsorted(ascending, ascending), torch.searchsorted(ascending, ascending, right=True)
        number = torch.arange(len(ascending), device=ascending.device)
        log_times = (end - begin).float().log().masked_fill(begin != number, -torch.inf)
        found = torch.searchsorted(ascending, self.targets).clamp(max=len(ascending) - 1)
        places = torch.where(ascending[found] == self.targets, order[found], len(ascending))
        return torch.empty_like(log_times).index_copy_(0, order, log_times), places
