"""Between shards and ShardedTensors, whose global shape is that of the matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.tables.sharded.placements import Placement, Shard, Span

Part = tuple[Span, Span, Tensor]
"""Rows, columns and the values there."""


def sharded_tensor(
    placement: Placement, num_rows: int, width: int, parts: Sequence[Part], dtype: torch.dtype, device: torch.device
) -> Any:
    """A ShardedTensor [num_rows, width] of what every process holds.

    Args:
        placement: of the matrix.
        num_rows: R.
        width: of the matrix or of its state; a state of one number a row has width 1.
        parts: what this process holds.
        dtype: of the values.
        device: of the values.
    """
    from torch.distributed._shard.sharded_tensor.api import ShardedTensor
    from torch.distributed._shard.sharded_tensor.metadata import ShardedTensorMetadata, TensorProperties
    from torch.distributed._shard.sharded_tensor.shard import Shard as TensorShard

    everyone = [(shard, _metadata(shard, width, device)) for shard in placement.shards]
    held = {(rows[0], columns[0]): values for rows, columns, values in parts}
    mine = []
    for shard, metadata in everyone:
        if metadata is not None and shard.rank == dist.get_rank():
            values = held[shard.rows[0], shard.columns[0]]
            mine.append(TensorShard(values[:, : metadata.shard_sizes[1]].contiguous(), metadata))
    whole = ShardedTensorMetadata(
        [metadata for _, metadata in everyone if metadata is not None],
        torch.Size([num_rows, width]),
        TensorProperties(dtype=dtype),
    )
    return ShardedTensor._init_from_local_shards_and_global_metadata(mine, whole)


def remote_device(rank: int, device: torch.device) -> str:
    """Where a process keeps its shards, in torch's words.

    Of the other processes' GPUs nobody asks which, so theirs are counted from 0.

    Args:
        rank: of the process.
        device: of this process.
    """
    if device.type == "cpu":
        return f"rank:{rank}/cpu"
    number = torch.cuda.device_count()
    own = torch.cuda.current_device() if device.index is None else device.index
    return f"rank:{rank}/{device.type}:{own if rank == dist.get_rank() else rank % max(1, number)}"


def _metadata(shard: Shard, width: int, device: torch.device) -> Any:
    """What a shard has of a matrix or a state of this width; None if nothing."""
    from torch.distributed._shard.metadata import ShardMetadata

    num_rows = shard.rows[1] - shard.rows[0]
    num_columns = min(width, shard.columns[1]) - min(width, shard.columns[0])
    if num_rows * num_columns == 0:
        return None
    offsets, sizes = [shard.rows[0], shard.columns[0]], [num_rows, num_columns]
    return ShardMetadata(offsets, sizes, remote_device(shard.rank, device))


def region(values: Any, rows: Span, columns: Span) -> Tensor:
    """Some rows and columns of a whole tensor, or of a ShardedTensor cut in the same way; columns beyond are left out.

    Raises:
        ValueError: if the ShardedTensor is cut in another way.
    """
    if not hasattr(values, "local_shards"):
        picked: Tensor = values[rows[0] : rows[1], columns[0] : columns[1]]
        return picked
    if rows[0] == rows[1] or columns[0] >= values.shape[1]:
        return torch.zeros(rows[1] - rows[0], 0)
    for shard in values.local_shards():
        if list(shard.metadata.shard_offsets) == [rows[0], columns[0]] and len(shard.tensor) == rows[1] - rows[0]:
            found: Tensor = shard.tensor
            return found
    raise ValueError("sharded rows can be loaded from whole tensors, or from tensors sharded in the same way.")
