"""Centroids for given vectors, where some of them may choose among the first alone."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.tables.clustering import kmeans, means, nearest
from recsys.tables.routing.hashes import mix64

_POINTS_PER_CENTROID = 256
_MOST_POINTS = 1 << 17
"""More of them move centroids little and cost in proportion."""
_ROUNDS = 25


def fit_centroids(points: Tensor, num_choices: int, restricted: tuple[Tensor, int] | None, seed: int) -> Tensor:
    """Centroids by k-means, of at most 256 points for each and 2**17 in all.

    With restricted points, those cluster first; other centroids begin at points far from theirs; then all together.

    Shape:
        points [N, D], restricted a mask [N] -> [num_choices, D]

    Args:
        points: to be near to a centroid.
        num_choices: centroids.
        restricted: which points choose among how many of the first centroids alone.
        seed: of the points that k-means begins with.
    """
    most = max(num_choices, min(_POINTS_PER_CENTROID * num_choices, _MOST_POINTS))
    if len(points) > most:
        chosen = mix64(torch.arange(len(points)), seed).argsort()[:most]
        points = points[chosen]
        restricted = None if restricted is None else (restricted[0][chosen], restricted[1])
    if restricted is None or not bool(restricted[0].any()):
        return kmeans(points, num_choices, seed=seed)
    mask, number = restricted
    bound, free = points[mask], points[~mask]
    centroids = torch.cat([kmeans(bound, number, seed=seed), points.new_zeros(num_choices - number, points.shape[1])])
    centroids[number:] = _far(free, centroids[:number], num_choices - number, seed)
    for _ in range(_ROUNDS if len(free) else 0):
        (own, own_far), (others, others_far) = nearest(bound, centroids[:number]), nearest(free, centroids)
        found, counts = means(torch.cat([bound, free]), torch.cat([own, others]), num_choices)
        for part, candidates, far in ((slice(0, number), bound, own_far), (slice(number, None), free, others_far)):
            empty = (counts[part] == 0).nonzero().squeeze(1)[: len(candidates)]
            found[part][empty] = candidates[far.topk(len(empty)).indices]
        centroids = found
    return centroids


def _far(points: Tensor, centroids: Tensor, number: int, seed: int) -> Tensor:
    """Some points, each as likely as it is far, in squares, from the centroids that there are; zeros if too few.

    Drawn without repeats: the largest of the weights over exponential numbers (Efraimidis and Spirakis 2006).
    """
    weights = nearest(points, centroids)[1].clamp(min=0)
    uniform = (mix64(torch.arange(len(points)), seed) >> 11 & ((1 << 53) - 1)).double() / (1 << 53)
    order = (weights / -torch.log(uniform.clamp(1e-18, 1 - 1e-16))).argsort(descending=True)[:number]
    return torch.cat([points[order], points.new_zeros(number - len(order), centroids.shape[1])])
