"""Torchrec's input distribution: row numbers on their way to the processes that hold the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.tables.lookups.started import InputDistribution


class TorchrecDistribution(InputDistribution):
    """One call of a sharded module, in the steps that torchrec's own pipeline takes.

    Args:
        sharded: a ShardedEmbeddingBagCollection with one feature per matrix.
        ids: row numbers of each matrix, in pieces; each is a bag of its own.
        device: of this process.
        host_group: a group of all processes that reduces numbers of the host; None for the default one.
    """

    def __init__(
        self, sharded: Any, ids: Mapping[str, Sequence[Tensor]], device: torch.device, host_group: Any
    ) -> None:
        self._counts = {name: [len(piece) for piece in pieces] for name, pieces in ids.items()}
        self._sharded = sharded
        self._context = sharded.create_context()
        self._sizes = sharded.input_dist(self._context, _bags(ids, device, host_group))
        self._values: Any = None
        self._features: Any = None

    def advance(self) -> None:
        """See InputDistribution."""
        self._values = self._sizes.wait()

    def finish(self) -> None:
        """See InputDistribution."""
        self._features = self._values.wait()

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """See InputDistribution."""
        self._features.record_stream(stream)
        self._context.record_stream(stream)

    def look_up(self) -> dict[str, tuple[Tensor, list[int]]]:
        """Vectors [N, padded width] of each matrix, and how many of them belong to each piece."""
        answer = self._sharded.compute_and_output_dist(self._context, self._features).wait().to_dict()
        return {name: (answer[name][: sum(counts)], counts) for name, counts in self._counts.items()}


def _bags(ids: Mapping[str, Sequence[Tensor]], device: torch.device, host_group: Any) -> Any:
    """A KeyedJaggedTensor of bags of one id; the shorter features end in empty bags."""
    from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

    joined = {
        name: torch.cat(list(pieces)).long() if pieces else torch.zeros(0, dtype=torch.int64, device=device)
        for name, pieces in ids.items()
    }
    stride = _longest_anywhere(max(len(values) for values in joined.values()), host_group)
    steps = torch.arange(stride, device=device)
    lengths = torch.cat([(steps < len(values)).to(torch.int32) for values in joined.values()])
    return KeyedJaggedTensor(list(joined), torch.cat(list(joined.values())), lengths=lengths, stride=stride)


def _longest_anywhere(length: int, host_group: Any) -> int:
    """The largest of all processes' lengths: row-wise sharding wants as many bags on each."""
    longest = torch.tensor(length)
    dist.all_reduce(longest, op=dist.ReduceOp.MAX, group=host_group)
    return int(longest)
