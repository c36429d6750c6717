"""BERT4Rec (Sun et al., CIKM 2019, arXiv:1904.06690)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.models.packing import Packing
from recsys.models.sequence import PositionalInput, check_heads, check_session_sizes, xavier_
from recsys.models.session import SessionModel
from recsys.models.transformer import TransformerBlock


class BERT4Rec(SessionModel):
    """A bidirectional transformer that names hidden events from those around them.

    Shape:
        vectors [B, L, D], lengths [B], masked bool [B, L] or None -> hidden states [B, L, D], zeros at or beyond a
        length; the vectors at masked positions are not looked at; or packed sessions

    Differs from the paper: layer norms come before attention and feed-forward layers, which trains without warm-up;
    vectors are scaled by sqrt(D); scores have no bias for each item; the vector of a hidden event is none of the item
    table's; at least one event of a session is hidden, and so is the last one alone in a part of them (MaskedItems).

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

    @typed
    def __init__(
        self, embedding_dim: int, max_length: int, *, num_blocks: int = 2, num_heads: int = 2, dropout: float = 0.2
    ) -> None:
        super().__init__()
        check_session_sizes("BERT4Rec", embedding_dim, max_length, num_blocks, dropout)
        self.embedding_dim = embedding_dim
        check_heads("BERT4Rec", embedding_dim, num_heads)
        self.mask = nn.Parameter(torch.empty(embedding_dim).normal_(std=0.02))
        self.input = PositionalInput(embedding_dim, max_length, dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(embedding_dim, num_heads, dropout, causal=False) for _ in range(num_blocks)
        )
        self.norm = nn.LayerNorm(embedding_dim)
        self.transform = nn.Linear(embedding_dim, embedding_dim)
        self.transform_norm = nn.LayerNorm(embedding_dim)
        xavier_(self)

    def packed(
        self, vectors: Tensor, packing: Packing, times: Tensor | None = None, masked: Tensor | None = None
    ) -> Tensor:
        """Hidden states; `times` are not used."""
        if masked is not None:
            vectors = torch.where(masked.unsqueeze(1), self.mask.to(vectors.dtype), vectors)
        hidden: Tensor = self.input(vectors, packing)
        for block in self.blocks:
            hidden = block(hidden, packing)
        output: Tensor = self.transform_norm(F.gelu(self.transform(self.norm(hidden))))
        return output
