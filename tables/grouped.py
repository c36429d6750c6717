"""Products of many small matrices with a few others, each of which many of them meet."""

from __future__ import annotations

import torch
from torch import Tensor


def grouped_product(left: Tensor, right: Tensor, places: Tensor) -> Tensor:
    """left[n] @ right[places[n]] for all n, without a copy of `right` for each n; on a CPU.

    Those that meet one matrix lie below each other in blocks of equal height, filled up with zeros, and a matrix that
    more of them meet than a block holds has several: at most three places for each n, and 1.5 blocks for each matrix.

    Shape:
        left [N, A, R], right [M, R, B], places [N] in [0, M) -> [N, A, B]
    """
    (num_left, height, inner), (num_right, _, width) = left.shape, right.shape
    owners, order = places.sort(stable=True)
    counts = torch.bincount(places, minlength=num_right)
    rank = torch.arange(num_left) - (counts.cumsum(0) - counts).index_select(0, owners)
    room = max(1, -(-2 * num_left // max(1, num_right)))
    num_blocks = -(-counts // room)
    first_block = num_blocks.cumsum(0) - num_blocks
    block = first_block.index_select(0, owners) + rank // room
    matrices = torch.arange(num_right).repeat_interleave(num_blocks)
    slots = torch.empty_like(places).index_copy_(0, order, block * room + rank % room)
    padded = left.new_zeros(len(matrices) * room, height * inner).index_copy(0, slots, left.flatten(1))
    blocks = padded.view(len(matrices), room * height, inner)
    products = torch.bmm(blocks, right.index_select(0, matrices))
    return products.view(len(matrices) * room, height * width).index_select(0, slots).view(num_left, height, width)
