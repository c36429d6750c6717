"""A pre-norm transformer block, causal or not as its mask says."""

from __future__ import annotations

from torch import Tensor, nn

from recsys.models.attention import attend
from recsys.models.dropout import Dropout
from recsys.models.sequence import FeedForward, join_heads, split_heads


class TransformerBlock(nn.Module):
    """Attention, then a feed-forward layer four times as wide; each on a normalised input, added to it.

    Shape:
        input [B, L, D], visible bool that broadcasts to [B, H, L, L] -> [B, L, D]

    Args:
        embedding_dim: D.
        num_heads: attention heads; divides D.
        dropout: of attention weights and of what each part adds.
    """

    def __init__(self, embedding_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(embedding_dim)
        self.query_key_value = nn.Linear(embedding_dim, 3 * embedding_dim)
        self.output = nn.Linear(embedding_dim, embedding_dim)
        self.dropout = Dropout(dropout)
        self.forward_norm = nn.LayerNorm(embedding_dim)
        self.feed_forward = FeedForward(embedding_dim, 4 * embedding_dim, nn.GELU, dropout)

    def forward(self, input: Tensor, visible: Tensor) -> Tensor:
        """Hidden states of the next block."""
        projected = self.query_key_value(self.attention_norm(input)).chunk(3, dim=2)
        queries, keys, values = (split_heads(part, self.num_heads) for part in projected)
        read = attend(queries, keys, values, self.dropout.p if self.training else 0.0, visible)
        hidden = input + self.dropout(self.output(join_heads(read)))
        output: Tensor = hidden + self.feed_forward(self.forward_norm(hidden))
        return output
