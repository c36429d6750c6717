"""Rows and networks of a PathQRTable that come near given vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_ROUNDS = 60
_TOLERANCE = 1e-6
_MOST_ROWS = 2048
"""Products of this many rows with each other are computed at once."""


@dataclass(frozen=True)
class PathFit:
    """What a PathQRTable's matrices begin with.

    Shape:
        rows [m, D], weights_in [P, D, H], weights_out [P, H, D], inner [P, H], outer [P, D]
    """

    rows: Tensor
    weights_in: Tensor
    weights_out: Tensor
    inner: Tensor
    outer: Tensor


def fit_paths(vectors: Tensor, ids: Tensor, rows: Tensor, weights_in: Tensor) -> PathFit:
    """Networks that are affine on the rows that pass through them, and the rows, in turns, each best for the other.

    The vector of row m on path p is r_m A_p + c_p, with A_p of the rank that the hidden layer leaves it: inner biases
    keep all units above 0. A network that bends may come nearer; training finds it from here. Ids without a vector are
    filled in, and cost nothing.

    Args:
        vectors: wanted [N, D], float32.
        ids: of which they are [N].
        rows: the rows to begin with [m, D], not zeros.
        weights_in: of the networks [P, D, H]; units beyond D keep theirs, and pass nothing on.
    """
    (num_rows, dim), (num_paths, _, hidden) = rows.shape, weights_in.shape
    every = vectors.new_zeros(num_paths * num_rows, dim)
    every[ids] = vectors
    missing = torch.ones(len(every), dtype=torch.bool)
    missing[ids] = False
    wanted, missing = every.view(num_paths, num_rows, dim), missing.view(num_paths, num_rows)
    counts = (~missing).sum(1, keepdim=True).clamp(min=1)
    wanted[missing] = (wanted.sum(1) / counts).unsqueeze(1).expand_as(wanted)[missing]
    basis, size, error = _start(wanted, rows), float(vectors.double().square().sum()), float("inf")
    means, maps = _affine(wanted, basis, hidden)
    for _ in range(_ROUNDS):
        found = basis @ maps + means
        before, error = error, float((wanted - found)[~missing].double().square().sum())
        if not before - error > _TOLERANCE * size:
            break
        wanted[missing] = found[missing]
        basis = _orthonormal(_best_rows(wanted - means, maps))
        means, maps = _affine(wanted, basis, hidden)
    return _networks(basis, maps, means.squeeze(1), rows, weights_in)


def _start(wanted: Tensor, rows: Tensor) -> Tensor:
    """The basis that is best for maps of any rank, where it costs little to find; else that of the rows there are."""
    if len(rows) > _MOST_ROWS:
        return _orthonormal(rows)
    centred = (wanted - wanted.mean(1, keepdim=True)).transpose(0, 1).flatten(1).double()
    found = torch.linalg.eigh(centred @ centred.t()).eigenvectors.flip(1)[:, : rows.shape[1]]
    return _orthonormal(found.to(rows.dtype)) if found.shape[1] == rows.shape[1] else _orthonormal(rows)


def _affine(wanted: Tensor, basis: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """For each path the mean of its vectors and the map of what they differ from it by, the best for a basis."""
    means = wanted.mean(1, keepdim=True)
    return means, _of_rank(basis.t() @ (wanted - means), rank)


def _orthonormal(rows: Tensor) -> Tensor:
    """A basis [m, D] of the columns of rows, less their means; zeros where there are fewer directions than columns."""
    left, values, _ = torch.linalg.svd((rows - rows.mean(0)).double(), full_matrices=False)
    left = left * (values > 1e-6 * values[:1].clamp(min=1e-30))
    missing = rows.shape[1] - left.shape[1]
    return torch.cat([left, left.new_zeros(len(left), missing)], 1).to(rows.dtype)


def _of_rank(maps: Tensor, rank: int) -> Tensor:
    """The nearest maps [P, D, D] of a rank."""
    if rank >= maps.shape[1]:
        return maps
    left, values, right = torch.linalg.svd(maps)
    return (left[..., :rank] * values[:, None, :rank]) @ right[:, :rank]


def _best_rows(centred: Tensor, maps: Tensor) -> Tensor:
    """The rows [m, D] for given maps, by least squares: they meet the vectors of all paths."""
    gram = torch.einsum("pde,pfe->df", maps.double(), maps.double())
    right = torch.einsum("pme,pde->md", centred, maps).double()
    return (right @ torch.linalg.pinv(gram, rtol=1e-8, hermitian=True)).to(centred.dtype)


def _networks(basis: Tensor, maps: Tensor, means: Tensor, rows: Tensor, weights_in: Tensor) -> PathFit:
    """The same vectors, of rows with the deviation of those that were drawn, by networks whose units are above 0."""
    scale = rows.std() / basis.std().clamp(min=1e-30)
    found = basis * scale
    left, values, right = torch.linalg.svd(maps / scale)
    used = min(weights_in.shape[2], len(values[0]))
    roots = values[:, None, :used].sqrt()
    weights_in = weights_in.clone()
    weights_in[..., :used] = left[..., :used] * roots
    weights_out = weights_in.new_zeros(weights_in.shape).transpose(1, 2).contiguous()
    weights_out[:, :used] = roots.transpose(1, 2) * right[:, :used]
    inner = (-(found @ weights_in).amin(1)).clamp(min=0)
    outer = means - (inner.unsqueeze(1) @ weights_out).squeeze(1)
    return PathFit(found, weights_in, weights_out, inner, outer)
