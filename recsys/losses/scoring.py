"""How a hidden state and an item vector become a score: two maps, and then always a dot product in float32."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recsys.argument_types import typed
from recsys.models.checks import check_positive


class Scoring(ABC):
    """Score of an item = queries(hidden) . items(vector)."""

    @abstractmethod
    def queries(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., D] -> [..., D]."""

    @abstractmethod
    def items(self, vectors: Tensor) -> Tensor:
        """Item vectors [..., D] -> [..., D]."""


class DotProduct(Scoring):
    """Both sides as they are."""

    def queries(self, hidden: Tensor) -> Tensor:
        """The hidden states."""
        return hidden

    def items(self, vectors: Tensor) -> Tensor:
        """The vectors."""
        return vectors


class Cosine(Scoring):
    """Both sides at unit length, scores divided by a temperature, as HSTU is trained.

    Args:
        temperature: above 0.

    Raises:
        ValueError: if the temperature is not a finite number above 0.
    """

    @typed
    def __init__(self, temperature: float = 0.05) -> None:
        check_positive("Cosine", "temperature", temperature)
        self.temperature = temperature

    def queries(self, hidden: Tensor) -> Tensor:
        """Unit length over the temperature."""
        return unit_length(hidden) / self.temperature

    def items(self, vectors: Tensor) -> Tensor:
        """Unit length."""
        return unit_length(vectors)


_SHORTEST = 1e-12


def unit_length(vectors: Tensor) -> Tensor:
    """Vectors divided by their lengths, those below 1e-12 by that: `F.normalize`, in a third of its operations.

    Shape:
        [..., D] -> [..., D]
    """
    unit: Tensor = _UnitLength.apply(vectors)
    return unit


class _UnitLength(torch.autograd.Function):
    """What a gradient has along a vector does not reach it: the vector's length is not seen."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
        divisors = lengths.clamp(min=_SHORTEST)
        unit = vectors / divisors
        ctx.save_for_backward(unit, divisors)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        unit, divisors = ctx.saved_tensors
        along = (grads[0] * unit).sum(-1, keepdim=True).masked_fill_(divisors <= _SHORTEST, 0.0)
        return torch.addcmul(grads[0], unit, along, value=-1).div_(divisors)


# Scores are float32 whatever the precision around them: rounded to bfloat16 they have 8 bits, and most items would tie.


def query_side(scoring: Scoring, hidden: Tensor) -> Tensor:
    """What scoring makes of hidden states, in float32: [..., D] -> [..., D]."""
    _check(scoring, "hidden", hidden)
    with torch.autocast(hidden.device.type, enabled=False):
        return _checked(scoring, "queries", scoring.queries(hidden.float()), hidden).float()


def item_side(scoring: Scoring, vectors: Tensor) -> Tensor:
    """What scoring makes of item vectors, in float32: [..., D] -> [..., D]."""
    _check(scoring, "vectors", vectors)
    with torch.autocast(vectors.device.type, enabled=False):
        return _checked(scoring, "items", scoring.items(vectors.float()), vectors).float()


def scores_of_drawn(queries: Tensor, items: Tensor) -> Tensor:
    """Scores of items that are the same for all queries [K, D], or each query's own [P, K, D]: [P, D] -> [P, K]."""
    with torch.autocast(queries.device.type, enabled=False):
        return queries @ items.t() if items.dim() == 2 else (items @ queries.unsqueeze(2)).squeeze(2)


def _checked(scoring: Scoring, side: str, found: Tensor, given: Tensor) -> Tensor:
    """What a side of a scoring gave, unless it is anything but a vector for each that it was given."""
    if not isinstance(found, Tensor) or found.is_complex() or not found.dim() or found.shape[:-1] != given.shape[:-1]:
        got = f"{list(found.shape)} of {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"{type(scoring).__name__}: {side}() must give real numbers {[*given.shape[:-1], 'D']}, got {got}."
        )
    return found


def _check(scoring: Scoring, name: str, values: Tensor) -> None:
    """Refuse what is no scoring, and no real numbers [..., D]; plain comparisons, which torch.compile sees through."""
    if not isinstance(scoring, Scoring):
        raise ValueError(f"scoring must be a Scoring, such as DotProduct(), got {scoring!r}.")
    if not isinstance(values, Tensor):
        raise ValueError(f"{name} must be a Tensor [..., D], got {values!r}.")
    if values.is_nested or values.is_quantized:
        kind = "nested" if values.is_nested else "quantised"
        raise ValueError(f"{name} must be an ordinary tensor [..., D], got one that is {kind}.")
    if not values.dim() or values.is_complex() or values.layout != torch.strided:
        raise ValueError(f"{name} must be real numbers [..., D], got {list(values.shape)} of {values.dtype}.")
