"""A pre-norm transformer block, causal or not."""

from __future__ import annotations

from torch import Tensor, nn

from recsys.models.attention import attend_in_sessions
from recsys.models.dropout import Dropout
from recsys.models.packing import Packing
from recsys.models.sequence import FeedForward


class TransformerBlock(nn.Module):
    """Attention, then a feed-forward layer four times as wide; each on a normalised input, added to it.

    Shape:
        [N, D] -> [N, D]

    Args:
        embedding_dim: D.
        num_heads: attention heads; divides D.
        dropout: of attention weights and of what each part adds.
        causal: whether no state depends on later events.
    """

    def __init__(self, embedding_dim: int, num_heads: int, dropout: float, causal: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.causal = causal
        self.attention_norm = nn.LayerNorm(embedding_dim)
        self.query_key_value = nn.Linear(embedding_dim, 3 * embedding_dim)
        self.output = nn.Linear(embedding_dim, embedding_dim)
        self.dropout = Dropout(dropout)
        self.forward_norm = nn.LayerNorm(embedding_dim)
        self.feed_forward = FeedForward(embedding_dim, 4 * embedding_dim, nn.GELU, dropout)

    def forward(self, input: Tensor, packing: Packing) -> Tensor:
        """Hidden states of the next block."""
        queries, keys, values = self.query_key_value(self.attention_norm(input)).chunk(3, dim=1)
        dropout = self.dropout.p if self.training else 0.0
        read = attend_in_sessions(queries, keys, values, packing, self.num_heads, dropout, self.causal)
        hidden = input + self.dropout(self.output(read))
        output: Tensor = hidden + self.feed_forward(self.forward_norm(hidden))
        return output
