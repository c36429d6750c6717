"""SASRec (Kang and McAuley, ICDM 2018, arXiv:1808.09781)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.models.attention import attend_in_sessions
from recsys.models.packing import Packing
from recsys.models.sequence import FeedForward, PositionalInput, check_heads, check_session_sizes, xavier_
from recsys.models.session import SessionModel


class SASRecBlock(nn.Module):
    """Causal attention with queries from the normalised input, then a feed-forward layer.

    What attention adds goes through a linear layer, which the authors' code lacks, and is added to the normalised
    input, as there.

    Shape:
        [N, D] -> [N, D]

    Args:
        embedding_dim: D.
        num_heads: attention heads; divides D.
        dropout: of attention weights and feed-forward values.
    """

    def __init__(self, embedding_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(embedding_dim)
        self.query = nn.Linear(embedding_dim, embedding_dim)
        self.key_value = nn.Linear(embedding_dim, 2 * embedding_dim)
        self.output = nn.Linear(embedding_dim, embedding_dim)
        self.attention_dropout = dropout
        self.forward_norm = nn.LayerNorm(embedding_dim)
        self.feed_forward = FeedForward(embedding_dim, embedding_dim, nn.ReLU, dropout)

    def forward(self, input: Tensor, packing: Packing) -> Tensor:
        """Hidden states of the next block."""
        normed = self.attention_norm(input)
        keys, values = self.key_value(input).chunk(2, dim=1)
        dropout = self.attention_dropout if self.training else 0.0
        read = attend_in_sessions(self.query(normed), keys, values, packing, self.num_heads, dropout, causal=True)
        hidden = self.forward_norm(normed + self.output(read))
        output: Tensor = hidden + self.feed_forward(hidden)
        return output


class SASRec(SessionModel):
    """Self-attentive sequential recommendation: the state at every position predicts the item after it.

    Shape:
        vectors [B, L, D], lengths [B] -> hidden states [B, L, D], zeros at or beyond a length; or packed sessions

    Differs from the paper: positions count from the session's first event, where the authors pad on the left, so the
    state at a position is the same whether or not later events are present; heads are joined by a linear layer. The
    loss is the task's: the authors' is losses.BinaryCrossEntropy, with the differences named there.

    Args:
        embedding_dim: D.
        max_length: longest session.
        num_blocks: attention blocks.
        num_heads: attention heads; divides D.
        dropout: probability of zeroing a value, in [0, 1).

    Raises:
        ValueError: a size is below 1, num_heads does not divide D, or dropout is outside [0, 1).
    """

    causal: ClassVar[bool] = True

    @typed
    def __init__(
        self, embedding_dim: int, max_length: int, *, num_blocks: int = 2, num_heads: int = 1, dropout: float = 0.2
    ) -> None:
        super().__init__()
        check_session_sizes("SASRec", embedding_dim, max_length, num_blocks, dropout)
        self.embedding_dim = embedding_dim
        check_heads("SASRec", embedding_dim, num_heads)
        self.input = PositionalInput(embedding_dim, max_length, dropout)
        self.blocks = nn.ModuleList(SASRecBlock(embedding_dim, num_heads, dropout) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(embedding_dim)
        xavier_(self)

    def packed(
        self, vectors: Tensor, packing: Packing, times: Tensor | None = None, masked: Tensor | None = None
    ) -> Tensor:
        """Hidden states; `times` and `masked` are not used."""
        hidden: Tensor = self.input(vectors, packing)
        for block in self.blocks:
            hidden = block(hidden, packing)
        output: Tensor = self.norm(hidden)
        return output
