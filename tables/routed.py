"""A batch on its way through a collection: routed, and maybe begun ahead of its step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.tables.features import Bag
from recsys.tables.group_ids import Ragged, Single
from recsys.tables.lookups.requests import Request
from recsys.tables.lookups.started import StartedLookup


@dataclass(frozen=True)
class Reads:
    """What a group asks for.

    Args:
        requests: one; or one for each lookup, of rows that are read once each; none where its tables have no rows.
        places: [K, N] of the row that each id reads, among those that its lookup reads once; None where ids have rows
            of their own.
    """

    requests: Sequence[Request] = ()
    places: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """All that it holds."""
        found = [tensor for request in self.requests for tensor in (request.rows, request.first_rows)]
        return found if self.places is None else [*found, self.places]


@dataclass(frozen=True)
class Routed:
    """The rows that a batch asks for.

    Args:
        picked: ids [G, B] of each group of single-valued features.
        ragged: ids of each group of bags.
        reads: of every group.
    """

    picked: Sequence[Single]
    ragged: Sequence[Ragged]
    reads: Sequence[Reads]

    def asked(self) -> list[Request]:
        """The requests of all groups."""
        return [request for reads in self.reads for request in reads.requests]

    def ids(self) -> list[Single | Ragged]:
        """The ids of every group."""
        return [*self.picked, *self.ragged]

    def tensors(self) -> list[Tensor]:
        """All that it holds."""
        return [tensor for each in (*self.reads, *self.ids()) for tensor in each.tensors()]


def tensors_of(ids: Tensor, bags: Mapping[str, Bag]) -> list[Tensor]:
    """All that the ids of a batch are in."""
    return [ids, *(tensor for bag in bags.values() for tensor in bag.tensors())]


class StartedBatch:
    """What a collection has done for a batch ahead of reading its rows.

    Args:
        owner: the collection's lookup.
        ids: the tensors that the batch's ids are in.
        routed: the rows that it asks for.
        lookup: on its way.
    """

    def __init__(self, owner: object, ids: Sequence[Tensor], routed: Routed, lookup: StartedLookup) -> None:
        self.owner = owner
        self._ids = [(tensor, tensor._version) for tensor in ids]
        self.routed = routed
        self.lookup = lookup

    def is_of(self, ids: Sequence[Tensor]) -> bool:
        """Whether these are the tensors it was started for, unchanged since."""
        return len(ids) == len(self._ids) and all(
            tensor is known and tensor._version == version
            for tensor, (known, version) in zip(ids, self._ids, strict=True)
        )

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory until this stream has used it."""
        for tensor in self.routed.tensors():
            tensor.record_stream(stream)
        self.lookup.record_stream(stream)


def still_of(started: object, owner: object, ids: Tensor, bags: Mapping[str, Bag]) -> StartedBatch | None:
    """What was started, if it is of this batch, unchanged since.

    Raises:
        ValueError: if it is anything else than what `start` of this collection gives.
    """
    if started is None:
        return None
    if not isinstance(started, StartedBatch):
        raise ValueError(f"TableCollection: started must be what start() gave, got {type(started).__name__}.")
    if started.owner is not owner:
        raise ValueError(
            "TableCollection: started must be what start() of this collection gave, and is of another one."
        )
    return started if started.is_of(tensors_of(ids, bags)) else None
