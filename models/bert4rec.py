"""BERT4Rec (Sun et al., CIKM 2019, arXiv:1904.06690)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.models.sequence import PositionalInput, check_heads, check_session_sizes, is_event, xavier_
from recsys.models.transformer import TransformerBlock


class BERT4Rec(nn.Module):
    """A bidirectional transformer that names hidden events from those around them.

    Shape:
        vectors [B, L, D], lengths [B], masked bool [B, L] or None -> hidden states [B, L, D]; positions at or beyond a
        length hold no meaning; the vectors at masked positions are not looked at

    Differs from the paper: layer norms come before attention and feed-forward layers, which trains without warm-up.

    Args:
        embedding_dim: D.
        max_length: longest session, the hidden event included.
        num_blocks: transformer blocks.
        num_heads: attention heads; divides D.
        dropout: probability of zeroing a value, in [0, 1).

    Raises:
        ValueError: a size is below 1, num_heads does not divide D, or dropout is outside [0, 1).
    """

    causal: ClassVar[bool] = False

    def __init__(
        self, embedding_dim: int, max_length: int, *, num_blocks: int = 2, num_heads: int = 2, dropout: float = 0.2
    ) -> None:
        super().__init__()
        check_session_sizes("BERT4Rec", embedding_dim, max_length, num_blocks, dropout)
        check_heads("BERT4Rec", embedding_dim, num_heads)
        self.mask = nn.Parameter(torch.empty(embedding_dim).normal_(std=0.02))
        self.input = PositionalInput(embedding_dim, max_length, dropout)
        self.blocks = nn.ModuleList(TransformerBlock(embedding_dim, num_heads, dropout) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(embedding_dim)
        self.transform = nn.Linear(embedding_dim, embedding_dim)
        self.transform_norm = nn.LayerNorm(embedding_dim)
        xavier_(self)

    def forward(
        self, vectors: Tensor, lengths: Tensor, times: Tensor | None = None, masked: Tensor | None = None
    ) -> Tensor:
        """Hidden states; `times` are not used."""
        if masked is not None:
            vectors = torch.where(masked.unsqueeze(2), self.mask, vectors)
        # A session without events sees its first position, so that no row of the softmax is empty.
        visible = is_event(lengths.clamp(min=1), vectors.shape[1])[:, None, None, :]
        hidden: Tensor = self.input(vectors)
        for block in self.blocks:
            hidden = block(hidden, visible)
        output: Tensor = self.transform_norm(F.gelu(self.transform(self.norm(hidden))))
        return output
