"""How a hidden state and an item vector become a score: two maps, and then always a dot product."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch.nn.functional as F
from torch import Tensor


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
        ValueError: if the temperature is not above 0.
    """

    def __init__(self, temperature: float = 0.05) -> None:
        if temperature <= 0:
            raise ValueError(f"Cosine: temperature must be above 0, got {temperature}.")
        self.temperature = temperature

    def queries(self, hidden: Tensor) -> Tensor:
        """Unit length over the temperature."""
        return F.normalize(hidden, dim=-1) / self.temperature

    def items(self, vectors: Tensor) -> Tensor:
        """Unit length."""
        return F.normalize(vectors, dim=-1)
