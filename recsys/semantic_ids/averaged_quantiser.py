"""A residual quantiser whose codebooks are moving averages, and which revives codes that hardly anything chooses."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.semantic_ids.residual_quantiser import ResidualQuantiser

_SMOOTHING = 1e-5
_DEAD_FRACTION = 0.05
"""Of an equal share of the vectors: a code that is chosen less than that is dead."""


class AveragedQuantiser(ResidualQuantiser):
    """Codebooks follow what they stand for without gradients: only the commitment is a loss.

    Source: van den Oord et al., "Neural discrete representation learning" (NeurIPS 2017), arXiv:1711.00937, appendix
    A.1, at every level: N_k <- g N_k + (1 - g) n_k, m_k <- g m_k + (1 - g) sum of the n_k vectors that chose code k,
    v_k = m_k / N_k, with N_k smoothed as Laplace did, so that no code divides by 0.

    Args:
        num_levels: L.
        num_codes: K.
        dim: d.
        commitment: beta.
        decay: g, in [0, 1).

    Raises:
        ValueError: if decay is out of range.
    """

    def __init__(
        self, num_levels: int, num_codes: int, dim: int, commitment: float = 0.25, *, decay: float = 0.99
    ) -> None:
        super().__init__(num_levels, num_codes, dim, commitment)
        if not 0 <= decay < 1:
            raise ValueError(f"AveragedQuantiser: decay must be in [0, 1), got {decay}.")
        self.decay = decay
        self.books.requires_grad_(False)
        self.register_buffer("counts", torch.ones(num_levels, num_codes), persistent=False)
        self.register_buffer("sums", torch.zeros(num_levels, num_codes, dim), persistent=False)

    def book_loss(self, left: Tensor, chosen: Tensor) -> Tensor:
        """None: averages move the codebooks."""
        return left.new_zeros(())

    @torch.no_grad()
    def note(self, level: int, left: Tensor, own: Tensor) -> None:
        """Move the averages of a level by what chose its codes, and its codebook with them."""
        counts, sums = self.get_buffer("counts")[level], self.get_buffer("sums")[level]
        chosen = torch.bincount(own, minlength=len(counts)).to(counts)
        counts.lerp_(chosen, 1 - self.decay)
        sums.lerp_(torch.zeros_like(sums).index_add_(0, own, left), 1 - self.decay)
        total = counts.sum()
        smoothed = (counts + _SMOOTHING) / (total + len(counts) * _SMOOTHING) * total
        self.books[level].copy_(sums / smoothed.unsqueeze(1))

    @torch.no_grad()
    def start(self, vectors: Tensor, seed: int) -> None:
        """As ResidualQuantiser; each average begins as one vector, its centre."""
        super().start(vectors, seed)
        self.get_buffer("counts").fill_(1)
        self.get_buffer("sums").copy_(self.books)

    @torch.no_grad()
    def revive(self, residuals: list[Tensor], generator: torch.Generator) -> list[Tensor]:
        """Give codes that hardly anything chooses the place, and the count, of an average code's random residual.

        Returns: of each level which codes were moved, bool [K].
        """
        moved = []
        for level, left in enumerate(residuals):
            counts, sums = self.get_buffer("counts")[level], self.get_buffer("sums")[level]
            share = counts.mean()
            dead = counts < _DEAD_FRACTION * share
            rows = torch.randint(len(left), (int(dead.sum()),), generator=generator)
            self.books[level][dead] = left[rows.to(left.device)].to(self.books)
            counts[dead] = share
            sums[dead] = self.books[level][dead] * share
            moved.append(dead)
        return moved
