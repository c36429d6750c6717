"""A residual quantiser whose gradients are right, and which revives codes that nothing chooses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor, nn


class Quantised(NamedTuple):
    """What a quantiser makes of vectors [N, d].

    Args:
        vectors: [N, d] what the codes stand for; gradients pass as if they were the input.
        codes: [N, L].
        loss: of codebooks and commitment, a mean over the vectors.
        residuals: [N, d] of each level, what it had to code.
    """

    vectors: Tensor
    codes: Tensor
    loss: Tensor
    residuals: list[Tensor]


class ResidualQuantiser(nn.Module):
    """L codebooks of K vectors; each level codes what the levels before it have left.

    Source: Lee et al., "Autoregressive image generation using residual quantization" (CVPR 2022), arXiv:2203.01941, as
    in Rajput et al. (NeurIPS 2023), arXiv:2305.05065. Distances are float32 whatever the precision. What is left is
    the input less the chosen vectors, held constant: with their straight-through gradient no level after the first
    would pull at the encoder.

    Args:
        num_levels: L.
        num_codes: K.
        dim: d.
        commitment: weight of the loss that draws vectors to their codes; beta.
    """

    def __init__(self, num_levels: int, num_codes: int, dim: int, commitment: float = 0.25) -> None:
        super().__init__()
        self.commitment = commitment
        self.books = nn.Parameter(torch.zeros(num_levels, num_codes, dim))
        self.register_buffer("uses", torch.zeros(num_levels, num_codes, dtype=torch.int64), persistent=False)

    def forward(self, vectors: Tensor) -> Quantised:
        """Quantise float vectors [N, d]."""
        with torch.autocast(vectors.device.type, enabled=False):
            left = given = vectors.float()
            total, loss = torch.zeros_like(given), given.new_zeros(())
            codes, residuals = [], []
            for level, book in enumerate(self.books):
                own = torch.cdist(left.detach(), book.detach()).argmin(1)
                chosen = book[own]
                loss = loss + self.book_loss(left.detach(), chosen)
                loss = loss + self.commitment * (left - chosen.detach()).square().sum(1).mean()
                residuals.append(left.detach())
                total, left = total + chosen, left - chosen.detach()
                codes.append(own)
                if self.training:
                    self.note(level, residuals[-1], own)
            return Quantised(given + (total - given).detach(), torch.stack(codes, 1), loss, residuals)

    def book_loss(self, left: Tensor, chosen: Tensor) -> Tensor:
        """What draws the chosen vectors [N, d] to what they stand for."""
        return (left - chosen).square().sum(1).mean()

    def note(self, level: int, left: Tensor, own: Tensor) -> None:
        """In training: which codes [N] a level has chosen for what was left [N, d]."""
        self.get_buffer("uses")[level] += torch.bincount(own, minlength=self.books.shape[1])

    @torch.no_grad()
    def start(self, vectors: Tensor, seed: int) -> None:
        """Begin each level with the centres of k-means of what the levels before it leave of vectors [N, d].

        Raises:
            ValueError: if there are fewer vectors than codes.
        """
        num_codes = self.books.shape[1]
        if len(vectors) < num_codes:
            raise ValueError(f"--codes: {num_codes} codes need as many items with content, there are {len(vectors)}.")
        left = vectors.float()
        for level, book in enumerate(self.books):
            kmeans = MiniBatchKMeans(num_codes, batch_size=4096, n_init=1, random_state=seed + level)
            book.copy_(torch.from_numpy(kmeans.fit(left.cpu().numpy()).cluster_centers_).to(book))
            left = left - book[torch.cdist(left, book).argmin(1)]

    @torch.no_grad()
    def revive(self, residuals: list[Tensor], generator: torch.Generator) -> list[Tensor]:
        """Give codes that nothing has chosen since the last time the place of a random residual of their level.

        Returns: of each level which codes were moved, bool [K].
        """
        uses = self.get_buffer("uses")
        dead = [own == 0 for own in uses]
        for book, own, left in zip(self.books, dead, residuals, strict=True):
            rows = torch.randint(len(left), (int(own.sum()),), generator=generator)
            book[own] = left[rows.to(left.device)].to(book)
        uses.zero_()
        return dead
