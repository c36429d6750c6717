"""Losses that score each target against a few negatives and so touch few rows."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.losses.base import Loss, Step, read_once
from recsys.losses.samplers import Sampler, UniformSampler
from recsys.losses.shared_negatives import hits_among, shared_cross_entropy


class SampledLoss(Loss):
    """A loss of scores of targets and negatives; inputs, targets and negatives are read in one lookup.

    A negative that is its row's target counts for nothing.

    Args:
        sampler: where negatives come from.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler

    def __call__(self, step: Step) -> Tensor:
        """See Loss."""
        drawn = self.sampler.draw(step.targets, step.catalogue)
        vectors, (inputs, positives, negatives) = read_once(step.vectors, step.inputs, step.targets, drawn)
        queries = step.scoring.queries(step.encode(vectors.index_select(0, inputs)))
        items = step.scoring.items(vectors)
        wanted = items.index_select(0, positives)
        chosen = items.index_select(0, negatives.reshape(-1)).view(*negatives.shape, items.shape[1])
        return self.of_vectors(step, queries, wanted, chosen, drawn)

    def of_vectors(self, step: Step, queries: Tensor, wanted: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """Mean loss from vectors.

        Shape:
            queries [P, D], wanted [P, D] of the targets, chosen [K, D] or [P, K, D] of the negatives, drawn [K] or
            [P, K] ids -> scalar
        """
        positive = (queries * wanted).sum(1)
        shared = drawn.dim() == 1
        negative = queries @ chosen.t() if shared else torch.einsum("pd,pkd->pk", queries, chosen)
        is_target = drawn.expand(negative.shape) == step.targets.unsqueeze(1)
        return self.of_scores(step, positive.float(), negative.float(), drawn, is_target)

    @abstractmethod
    def of_scores(self, step: Step, positive: Tensor, negative: Tensor, drawn: Tensor, is_target: Tensor) -> Tensor:
        """Mean loss from scores.

        Shape:
            positive [P], negative [P, K], drawn [K] or [P, K] ids, is_target bool [P, K] -> scalar
        """


class SampledSoftmax(SampledLoss):
    """Softmax cross-entropy of the target among the negatives drawn for it.

    Every score, the target's too, is lowered by the log of its item's chance of being drawn (Yi et al., RecSys 2019),
    so that frequent items are not pushed down for being drawn often. With even chances that changes nothing, and the
    loss is the sampled softmax of HSTU.

    Args:
        sampler: where negatives come from; by default 256 drawn evenly, shared by the batch.
    """

    def __init__(self, sampler: Sampler | None = None) -> None:
        super().__init__(sampler or UniformSampler())

    def of_vectors(self, step: Step, queries: Tensor, wanted: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """See SampledLoss; with shared negatives no scores outlive their block."""
        if drawn.dim() > 1:
            return super().of_vectors(step, queries, wanted, chosen, drawn)
        log_chance = self.sampler.log_probability
        offsets = log_chance(step.targets, step.catalogue), log_chance(drawn, step.catalogue)
        hits = hits_among(drawn, step.targets)
        return step.mean(shared_cross_entropy(queries, wanted, chosen, offsets, hits))

    def of_scores(self, step: Step, positive: Tensor, negative: Tensor, drawn: Tensor, is_target: Tensor) -> Tensor:
        """See SampledLoss."""
        positive = positive - self.sampler.log_probability(step.targets, step.catalogue)
        negative = negative - self.sampler.log_probability(drawn, step.catalogue)
        negative = negative.masked_fill(is_target, -torch.inf)
        total = torch.cat([positive.unsqueeze(1), negative], dim=1).logsumexp(1)
        return step.mean((total - positive).sum())


class GBCE(SampledLoss):
    """Generalised binary cross-entropy (Petrov and Macdonald, RecSys 2023, arXiv:2308.07192).

    The target's probability is raised to the power beta, which undoes the overconfidence that few negatives cause. Its
    logarithm is beta * log sigmoid(score), so the transformed logit of the paper, and its float64, are not needed.

    Args:
        sampler: where negatives come from; by default 256 drawn evenly, shared by the batch.
        calibration: t in [0, 1]; 0 is binary cross-entropy, 1 is fully calibrated.

    Raises:
        ValueError: if calibration is outside [0, 1].
    """

    def __init__(self, sampler: Sampler | None = None, calibration: float = 0.75) -> None:
        super().__init__(sampler or UniformSampler())
        if not 0 <= calibration <= 1:
            raise ValueError(f"GBCE: calibration must be in [0, 1], got {calibration}.")
        self.calibration = calibration

    def of_scores(self, step: Step, positive: Tensor, negative: Tensor, drawn: Tensor, is_target: Tensor) -> Tensor:
        """See SampledLoss."""
        num_negatives = negative.shape[1]
        beta = self.beta(num_negatives, step.catalogue.num_items)
        counted = F.softplus(negative).masked_fill(is_target, 0.0)
        total = beta * F.softplus(-positive).sum() + counted.sum()
        return step.mean(total) / (num_negatives + 1)

    def beta(self, num_negatives: int, num_items: int) -> float:
        """Power of the target's probability, between the sampling rate and 1."""
        rate = min(1.0, num_negatives / max(1, num_items - 1))
        return 1.0 - self.calibration * (1.0 - rate)


class BinaryCrossEntropy(GBCE):
    """Target against negatives, each a yes or no, as the original SASRec with one negative for every target.

    Args:
        sampler: where negatives come from; by default one drawn evenly for every target.
    """

    def __init__(self, sampler: Sampler | None = None) -> None:
        super().__init__(sampler or UniformSampler(1, per_target=True), calibration=0.0)
