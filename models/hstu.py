"""HSTU, hierarchical sequential transduction units (Zhai et al., ICML 2024, arXiv:2402.17152)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.models.attention import join_heads, split_heads
from recsys.models.checks import check_at_least
from recsys.models.dropout import Dropout
from recsys.models.packing import Packing
from recsys.models.sequence import PositionalInput, check_session_sizes
from recsys.models.session import SessionModel

NUM_TIME_BUCKETS = 129
_BUCKET_WIDTH = 0.301


def time_buckets(times: Tensor) -> Tensor:
    """Logarithmic bucket of the time between every two events: [B, L] seconds -> int64 [B, L, L] in [0, 129)."""
    gaps = (times.unsqueeze(2) - times.unsqueeze(1)).abs().clamp(min=1)
    return (gaps.double().log() / _BUCKET_WIDTH).floor().long().clamp(max=NUM_TIME_BUCKETS - 1)


class RelativeBias(nn.Module):
    """Learned biases of attention scores: one for each distance in positions, one for each distance in time.

    Shape:
        num_positions L, times [B, L] or None -> [1 or B, 1, L, L], the same for all heads

    Args:
        max_length: longest session.
        use_times: whether to have time biases; without them `times` are ignored.
    """

    def __init__(self, max_length: int, use_times: bool) -> None:
        super().__init__()
        self.max_length = max_length
        self.by_distance = nn.Parameter(torch.empty(2 * max_length - 1).normal_(std=0.02))
        self.by_time = nn.Parameter(torch.empty(NUM_TIME_BUCKETS).normal_(std=0.02)) if use_times else None

    def forward(self, num_positions: int, buckets: Tensor | None) -> Tensor:
        """The bias of every pair of positions."""
        order = torch.arange(num_positions, device=self.by_distance.device)
        distance = order.unsqueeze(1) - order.unsqueeze(0) + self.max_length - 1
        bias = self.by_distance[distance].unsqueeze(0)
        if self.by_time is not None and buckets is not None:
            bias = bias + self.by_time[buckets]
        return bias.unsqueeze(1)


class HSTUBlock(nn.Module):
    """Pointwise aggregated attention, gated by the input; no softmax and no feed-forward layer.

    Shape:
        input [N, D], time buckets [b, l, l] of each group of sessions or None -> [N, D]

    Args:
        embedding_dim: D.
        max_length: longest session; attention sums are divided by it.
        num_heads: H.
        attention_dim: width of queries and keys, of each head.
        value_dim: width of values and gates, of each head.
        dropout: of the gated values.
        use_times: whether the block has time biases.
    """

    def __init__(
        self,
        embedding_dim: int,
        max_length: int,
        num_heads: int,
        attention_dim: int,
        value_dim: int,
        dropout: float,
        use_times: bool,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.max_length = max_length
        self.widths = [num_heads * width for width in (value_dim, value_dim, attention_dim, attention_dim)]
        self.projection = nn.Parameter(torch.empty(embedding_dim, sum(self.widths)).normal_(std=0.02))
        self.bias = RelativeBias(max_length, use_times)
        self.output = nn.Linear(num_heads * value_dim, embedding_dim)
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.dropout = Dropout(dropout)

    def forward(self, input: Tensor, packing: Packing, buckets: Sequence[Tensor | None]) -> Tensor:
        """Hidden states of the next block."""
        normed = F.layer_norm(input, input.shape[1:], eps=1e-6)
        gates, *projected = F.silu(normed @ self.projection).split(self.widths, dim=1)
        parts = zip(*map(packing.split, projected), buckets, strict=True)
        read = packing.join([self._attend(*part) for part in parts])
        output: Tensor = input + self.output(self.dropout(gates * F.layer_norm(read, read.shape[1:], eps=1e-6)))
        return output

    def _attend(self, values: Tensor, queries: Tensor, keys: Tensor, buckets: Tensor | None) -> Tensor:
        """What each event of one group's sessions reads: [b, l, H * width] each -> [b, l, H * value_dim]."""
        values, queries, keys = (split_heads(part, self.num_heads) for part in (values, queries, keys))
        scores = queries @ keys.mT + self.bias(queries.shape[2], buckets)
        # No event looks at a later one, and so none at padding.
        weights = F.silu(scores).tril() / self.max_length
        return join_heads(weights @ values)


class HSTU(SessionModel):
    """Hierarchical sequential transduction units: the state at every position predicts the item after it.

    Shape:
        vectors [B, L, D], lengths [B], times [B, L] in seconds or None -> hidden states [B, L, D], zeros at or beyond a
        length; or packed sessions

    Differs from the authors' code: the time bias uses t_i - t_j, the times of the two events. Theirs uses
    t_(i+1) - t_j and so tells the model when the event to predict happens. Positions start with a standard deviation
    of .02, theirs with D ** -.5. Attention sums are divided by max_length, theirs by that and the number of events to
    be predicted (ML-1M: 200 and 11). Loss and scores are the task's: theirs are Cosine(0.05), unit vectors on both
    sides, and a softmax among 128 or 512 negatives drawn for every position, SampledSoftmax(UniformSampler(128,
    per_target=True)).

    Args:
        embedding_dim: D.
        max_length: longest session.
        num_blocks: HSTU blocks.
        num_heads: H.
        attention_dim: width of each head's queries and keys; D / H if None.
        value_dim: width of each head's values; D / H if None.
        dropout: probability of zeroing a value, in [0, 1).
        use_times: bias attention by the time between events; sessions must then carry times.

    Raises:
        ValueError: a size is below 1, or dropout is outside [0, 1); in forward, times are needed and absent.
    """

    causal: ClassVar[bool] = True

    @typed
    def __init__(
        self,
        embedding_dim: int,
        max_length: int,
        *,
        num_blocks: int = 2,
        num_heads: int = 1,
        attention_dim: int | None = None,
        value_dim: int | None = None,
        dropout: float = 0.2,
        use_times: bool = False,
    ) -> None:
        super().__init__()
        check_session_sizes("HSTU", embedding_dim, max_length, num_blocks, dropout)
        self.embedding_dim = embedding_dim
        check_at_least("HSTU", "num_heads", num_heads, 1)
        per_head = max(1, embedding_dim // num_heads)
        attention_dim = per_head if attention_dim is None else attention_dim
        value_dim = per_head if value_dim is None else value_dim
        check_at_least("HSTU", "attention_dim", attention_dim, 1)
        check_at_least("HSTU", "value_dim", value_dim, 1)
        self.use_times = use_times
        self.input = PositionalInput(embedding_dim, max_length, dropout)
        self.blocks = nn.ModuleList(
            HSTUBlock(embedding_dim, max_length, num_heads, attention_dim, value_dim, dropout, use_times)
            for _ in range(num_blocks)
        )

    def packed(
        self, vectors: Tensor, packing: Packing, times: Tensor | None = None, masked: Tensor | None = None
    ) -> Tensor:
        """Hidden states; `masked` is not used."""
        if self.use_times and times is None:
            raise ValueError("HSTU: use_times needs sessions with times; the data have none. Set use_times: false.")
        buckets: list[Tensor | None] = [None] * len(packing.groups)
        if self.use_times and times is not None:
            buckets = [time_buckets(part) for part in packing.split(times)]
        hidden: Tensor = self.input(vectors, packing)
        for block in self.blocks:
            hidden = block(hidden, packing, buckets)
        return hidden
