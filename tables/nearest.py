"""Which of some centroids is nearest to a piece of a row."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

_AT_ONCE = 1 << 17
"""Distances that a CPU computes at a time, which its cache holds; a GPU 2048 times as many."""


def nearest(rows: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of the centroids nearest to each piece of each row, without holding the distances to all at once.

    In float32 at least, or near ones could not be told apart. Beside the numbers what they are chosen by: half of the
    squared distance, less half of the square of the piece itself.

    Shape:
        rows [N, G, D], centroids [G, P, C, D / P] -> [N, G, P], [N, G, P]
    """
    # Not under no_grad: torch.export cannot save one around an autocast.
    rows, centroids = rows.detach(), centroids.detach()
    dtype = torch.promote_types(rows.dtype, torch.float32)
    num_tables, num_parts, num_choices, _ = centroids.shape
    pieces = rows.to(dtype).unflatten(-1, (num_parts, -1)).permute(1, 2, 0, 3).flatten(0, 1)
    centres = centroids.to(dtype).flatten(0, 1)
    # A product with half of the centroid's square as one more term, which is less to do than to add it.
    pieces = F.pad(pieces, (0, 1), value=1.0)
    turned = torch.cat([-centres, centres.square().sum(-1, keepdim=True).mul_(0.5)], -1).transpose(1, 2)
    at_once = _AT_ONCE if rows.device.type == "cpu" else _AT_ONCE << 11
    block = max(1, at_once // (len(centres) * num_choices))
    # A program is traced for any number of ids.
    blocks = [pieces] if torch.compiler.is_compiling() else pieces.split(block, 1)
    # The meta device has no autocast to be left.
    with nullcontext() if rows.is_meta else torch.autocast(rows.device.type, enabled=False):
        found = [torch.bmm(part, turned).min(-1) for part in blocks]
    numbers, values = (
        joined.unflatten(0, (num_tables, num_parts)).permute(2, 0, 1)
        for joined in (torch.cat([each.indices for each in found], 1), torch.cat([each.values for each in found], 1))
    )
    return numbers, values
