"""M2TRec, a metadata-aware multi-task transformer (Shalaby et al., RecSys 2022, arXiv:2209.11824)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.models.packing import Packing
from recsys.models.sequence import PositionalInput, check_heads, check_session_sizes, xavier_
from recsys.models.session import SessionModel
from recsys.models.transformer import TransformerBlock


class M2TRec(SessionModel):
    """A transformer whose states are averaged over the session so far.

    What makes it M2TRec is what surrounds it: item vectors come from metadata alone (ConcatFusion), so that items
    without a single event are read and recommended like all others, and the average also predicts the next item's
    categories (NextItemTask's `predict`).

    Shape:
        vectors [B, L, D], lengths [B] -> hidden states [B, L, D], zeros at or beyond a length; or packed sessions

    Differs from the paper: attention is causal and every prefix of a session has its own average, so that all prefixes
    train at once; next items are scored with their metadata vectors instead of one output row per item, which could
    not score an item without events.

    Args:
        embedding_dim: D.
        max_length: longest session.
        num_blocks: transformer blocks.
        num_heads: attention heads; divides D.
        dropout: probability of zeroing a value, in [0, 1).

    Raises:
        ValueError: a size is below 1, num_heads does not divide D, or dropout is outside [0, 1).
    """

    causal: ClassVar[bool] = True

    @typed
    def __init__(
        self, embedding_dim: int, max_length: int, *, num_blocks: int = 2, num_heads: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        check_session_sizes("M2TRec", embedding_dim, max_length, num_blocks, dropout)
        self.embedding_dim = embedding_dim
        check_heads("M2TRec", embedding_dim, num_heads)
        self.input = PositionalInput(embedding_dim, max_length, dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(embedding_dim, num_heads, dropout, causal=True) for _ in range(num_blocks)
        )
        self.norm = nn.LayerNorm(embedding_dim)
        xavier_(self)

    def packed(
        self, vectors: Tensor, packing: Packing, times: Tensor | None = None, masked: Tensor | None = None
    ) -> Tensor:
        """Averages of the hidden states so far; `times` and `masked` are not used."""
        hidden: Tensor = self.input(vectors, packing)
        for block in self.blocks:
            hidden = block(hidden, packing)
        sums = packing.join([part.cumsum(1) for part in packing.split(self.norm(hidden))])
        return sums / (packing.positions + 1).unsqueeze(1)
