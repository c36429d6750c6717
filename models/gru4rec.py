"""GRU4Rec (Hidasi et al., ICLR 2016, arXiv:1511.06939)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recsys.argument_types import typed
from recsys.models.checks import check_at_least
from recsys.models.dropout import Dropout
from recsys.models.packing import Packing, take_places
from recsys.models.padded import PaddedSessions
from recsys.models.sequence import check_session_sizes, xavier_
from recsys.models.session import SessionModel


class GRU4Rec(SessionModel):
    """Gated recurrent units over the session; the state after every event predicts the item that follows.

    Shape:
        vectors [B, L, D], lengths [B] -> hidden states [B, L, D], zeros at or beyond a length; or packed sessions

    Differs from the paper: whole sessions are trained at once instead of session-parallel mini-batches with carried
    states; the state is projected to D so that items can be scored with their input vectors, without a bias for each;
    events enter as vectors, not one-hot; the loss is the task's, of which none is the authors' TOP1 or BPR, nor their
    later BPR-max.

    Args:
        embedding_dim: D.
        max_length: longest session; the model itself has no limit.
        hidden_dim: width of the recurrent state; D if None.
        num_blocks: recurrent layers.
        dropout: probability of zeroing a value of the input, between layers, and of the output, in [0, 1).

    Raises:
        ValueError: a size is below 1, or dropout is outside [0, 1).
    """

    causal: ClassVar[bool] = True

    @typed
    def __init__(
        self,
        embedding_dim: int,
        max_length: int,
        *,
        hidden_dim: int | None = None,
        num_blocks: int = 1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_session_sizes("GRU4Rec", embedding_dim, max_length, num_blocks, dropout)
        self.embedding_dim = embedding_dim
        hidden_dim = embedding_dim if hidden_dim is None else hidden_dim
        check_at_least("GRU4Rec", "hidden_dim", hidden_dim, 1)
        between = dropout if num_blocks > 1 else 0.0
        self.dropout = Dropout(dropout)
        self.recurrent = nn.GRU(embedding_dim, hidden_dim, num_blocks, batch_first=True, dropout=between)
        self.output = nn.Linear(hidden_dim, embedding_dim)
        xavier_(self)

    def packed(
        self, vectors: Tensor, packing: Packing, times: Tensor | None = None, masked: Tensor | None = None
    ) -> Tensor:
        """Hidden states; `times` and `masked` are not used."""
        if isinstance(packing, PaddedSessions):
            (padded,) = packing.split(self.dropout(vectors))
            return self._projected(packing.join([self.recurrent(padded)[0]]))
        places, sizes = packing.time_major()
        inputs = take_places(self.dropout(vectors), places)
        if packing.num_places:
            states = self.recurrent(PackedSequence(inputs, sizes))[0].data
        else:  # a process without sessions, whose parameters take part in the step all the same
            states = self.recurrent(inputs.unsqueeze(1))[0].squeeze(1)
        output = self._projected(states)
        return output.new_zeros(output.shape).index_copy(0, places, output)

    def _projected(self, states: Tensor) -> Tensor:
        output: Tensor = self.output(self.dropout(states))
        return output
