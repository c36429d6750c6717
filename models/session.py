"""What a session model is: item vectors of sessions in, a hidden state for every event out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from recsys.models.input_checks import check_fits_parameters, check_sessions
from recsys.models.packing import Packing


class SessionModel(nn.Module, ABC):
    """A model of sessions, which it reads one after the other, without padding.

    Attributes:
        causal: whether no state depends on later events.
        embedding_dim: width of the vectors; None where a model does not say it.
    """

    causal: ClassVar[bool]
    embedding_dim: int | None = None

    @abstractmethod
    def packed(
        self, vectors: Tensor, packing: Packing, times: Tensor | None = None, masked: Tensor | None = None
    ) -> Tensor:
        """Hidden states of all places.

        Shape:
            vectors [N, D], times [N] in seconds or None, masked bool [N] or None -> [N, D]
        """

    def forward(
        self, vectors: Tensor, lengths: Tensor, times: Tensor | None = None, masked: Tensor | None = None
    ) -> Tensor:
        """Hidden states of padded sessions, events left-aligned.

        Shape:
            vectors [B, L, D], lengths [B] in [0, L], times [B, L] or None, masked bool [B, L] or None -> [B, L, D],
            zeros beyond a session's places

        Raises:
            ValueError: an input is of another kind or size, or a length is out of range.
        """
        check_sessions(type(self).__name__, vectors, lengths, times, masked, self.embedding_dim)
        check_fits_parameters(self, "vectors", vectors)
        packing = Packing(lengths.cpu(), vectors.device)
        packed, packed_times, packed_masked = (
            None if values is None else packing.pack(_with_a_position(values)) for values in (vectors, times, masked)
        )
        assert packed is not None
        hidden = self.packed(packed, packing, packed_times, packed_masked)
        num_positions = vectors.shape[1]
        return packing.unpack(hidden, max(1, num_positions))[:, :num_positions]


def read_packed(
    model: nn.Module, vectors: Tensor, packing: Packing, times: Tensor | None = None, masked: Tensor | None = None
) -> Tensor:
    """Hidden states [N, D] of all places; a model that takes padded sessions alone gets a group at a time.

    Shape:
        see SessionModel.packed
    """
    if isinstance(model, SessionModel):
        return model.packed(vectors, packing, times, masked)
    groups = [group.lengths for group in packing.groups]
    inputs: list[Sequence[Tensor | None]] = [packing.split(vectors), groups]
    inputs.append([None] * len(groups) if times is None else packing.split(times))
    if masked is not None:
        inputs.append(packing.split(masked))
    return packing.join([model(*part) for part in zip(*inputs, strict=True)])


def _with_a_position(values: Tensor) -> Tensor:
    """Padded sessions [B, L, ...] with a position at least, because a session without events has a place."""
    return values if values.shape[1] else values.new_zeros(values.shape[0], 1, *values.shape[2:])
