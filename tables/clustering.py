"""K-means in torch, from a seed: the same points on the same device give the same clusters."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.tables.routing.hashes import mix64

_BLOCK_VALUES = 1 << 22


def nearest(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """The number of the nearest centroid of each point, and the squared distance to it.

    Shape:
        points [N, D], centroids [K, D] -> int64 [N], [N]
    """
    numbers, distances = [], []
    squares = centroids.square().sum(1)
    for block in points.split(max(1, _BLOCK_VALUES // len(centroids))):
        found, number = torch.addmm(squares, block, centroids.t(), alpha=-2).min(1)
        numbers.append(number)
        distances.append(found + block.square().sum(1))
    if not numbers:
        return torch.zeros(0, dtype=torch.int64, device=points.device), points.new_zeros(0)
    return torch.cat(numbers), torch.cat(distances)


def means(points: Tensor, numbers: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """The mean of the points of each group, zeros for a group without any, and how many there are.

    Shape:
        points [N, D], numbers [N] in [0, num_groups) -> [num_groups, D], int64 [num_groups]
    """
    sums = points.new_zeros(num_groups, points.shape[1]).index_add_(0, numbers, points)
    counts = torch.bincount(numbers, minlength=num_groups)
    return sums / counts.clamp(min=1).unsqueeze(1), counts


def kmeans(points: Tensor, num_clusters: int, num_iterations: int = 25, seed: int = 0) -> Tensor:
    """Centroids by Lloyd's iterations from distinct points, chosen by the seed.

    A cluster that loses all its points starts anew at one of those farthest from their centroids. With fewer points
    than clusters, each is a centroid, and so are zeros.

    Shape:
        points [N, D] -> [num_clusters, D]
    """
    if len(points) <= num_clusters:
        return torch.cat([points, points.new_zeros(num_clusters - len(points), points.shape[1])])
    order = mix64(torch.arange(len(points), device=points.device), seed).argsort()
    centroids = points[order[:num_clusters]]
    for _ in range(num_iterations):
        numbers, distances = nearest(points, centroids)
        centroids, counts = means(points, numbers, num_clusters)
        empty = (counts == 0).nonzero().squeeze(1)
        if len(empty):
            centroids[empty] = points[distances.topk(len(empty)).indices]
    return centroids
