"""The cores whose products come near given vectors."""

from __future__ import annotations

import torch
from torch import Tensor

_ITERATIONS = 100
_TOLERANCE = 1e-7
_SLAB_VALUES = 1 << 22

Three = tuple[int, int, int]


def fit_cores(
    vectors: Tensor, ids: Tensor, digits: Three, dims: Three, ranks: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The matrices of a TTTable for given vectors: bases of the two outer cores in turns, each best for the other.

    The vectors of all digits are an array n1 d1 x n2 d2 x n3 d3. With the outer cores as orthonormal bases the middle
    one, which is what the array is in them, is the best there is (Tucker's decomposition of two sides; De Lathauwer,
    De Moor and Vandewalle, SIAM J. Matrix Anal. Appl. 2000). Vectors that nobody has given are filled in with what the
    cores make of them, so that they cost nothing.

    Shape:
        vectors [N, D], ids [N] -> [n1, d1 R1], [n2, R1 d2 R2], [n3, R2 d3], of one root mean square

    Args:
        vectors: wanted, float32.
        ids: of which they are.
        digits: how many each core has, n1 n2 n3 at least the number of ids.
        dims: d1 d2 d3 = D.
        ranks: R1 and R2.
    """
    array = _Array(vectors, ids, digits, dims)
    right = _leading(array.right_gram(), ranks[1])
    left = _leading(_gram(array.times_right(right)), ranks[0])
    total, missed = float(array.values.double().square().sum()), float("inf")
    for _ in range(_ITERATIONS):
        right = _leading(_gram(array.times_left(left).flatten(0, 1).t()), ranks[1])
        projected = array.times_right(right)
        left = _leading(_gram(projected.flatten(1)), ranks[0])
        middle = (left.t() @ projected.flatten(1)).view(ranks[0], -1, ranks[1])
        before, missed = missed, max(0.0, total - float(middle.double().square().sum()))
        if not before - missed > _TOLERANCE * total:
            break
        total = array.fill(left, middle, right)
    return _balanced(_cores(left, middle, right, digits, dims))


class _Array:
    """The vectors of all digits, n1 d1 x n2 d2 x n3 d3.

    Args: see `fit_cores`.
    """

    def __init__(self, vectors: Tensor, ids: Tensor, digits: Three, dims: Three) -> None:
        self._digits, self._dims = digits, dims
        first, second, third = digits
        every = vectors.new_zeros(first * second * third, vectors.shape[1])
        every[ids] = vectors
        present = torch.zeros(len(every), dtype=torch.bool)
        present[ids] = True
        self._missing = (~present).nonzero().squeeze(1)
        ordered = every.view(*digits, *dims).permute(0, 3, 1, 4, 2, 5)
        self.values = ordered.reshape(first * dims[0], second * dims[1], third * dims[2])

    def right_gram(self) -> Tensor:
        """Products of the array's last side with itself, in float64."""
        width = self.values.shape[2]
        total = torch.zeros(width, width, dtype=torch.float64)
        for part in self.values.view(-1, width).split(max(1, _SLAB_VALUES // width)):
            total.addmm_(part.double().t(), part.double())
        return total

    def times_right(self, right: Tensor) -> Tensor:
        """[n1 d1, n2 d2, R2]."""
        return self.values @ right

    def times_left(self, left: Tensor) -> Tensor:
        """[R1, n2 d2, n3 d3]."""
        return (left.t() @ self.values.flatten(1)).view(-1, *self.values.shape[1:])

    def fill(self, left: Tensor, middle: Tensor, right: Tensor) -> float:
        """Put in what the cores make of missing vectors; the sum of the squares of all."""
        if len(self._missing):
            (_, second, third), (a, b, c) = self._digits, self._dims
            places = (self._missing // (second * third), self._missing // third % second, self._missing % third)
            lefts, rights = left.view(-1, a, left.shape[1])[places[0]], right.view(-1, c, right.shape[1])[places[2]]
            middles = middle.view(len(middle), -1, b, right.shape[1])[:, places[1]].transpose(0, 1)
            found = torch.einsum("nal,nlbr,ncr->nabc", lefts, middles, rights)
            view = self.values.view(self._digits[0], a, second, b, third, c)
            view[places[0], :, places[1], :, places[2], :] = found
        return float(self.values.double().square().sum())


def _gram(matrix: Tensor) -> Tensor:
    """Products of the rows of a matrix, in float64."""
    matrix = matrix.flatten(1).double()
    return matrix @ matrix.t()


def _leading(gram: Tensor, rank: int) -> Tensor:
    """The directions [n, rank] of the largest eigenvalues."""
    return torch.linalg.eigh(gram).eigenvectors[:, -rank:].flip(1).float()


def _cores(left: Tensor, middle: Tensor, right: Tensor, digits: Three, dims: Three) -> tuple[Tensor, Tensor, Tensor]:
    """As a TTTable keeps them, a row for each digit."""
    (first, second, third), (low, high) = digits, (left.shape[1], right.shape[1])
    return (
        left.reshape(first, dims[0] * low),
        middle.view(low, second, dims[1], high).transpose(0, 1).reshape(second, -1),
        right.view(third, dims[2], high).transpose(1, 2).reshape(third, -1),
    )


def _balanced(cores: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The same product of cores with one root mean square, so that one rate of learning suits all."""
    sizes = torch.stack([core.square().mean().sqrt().clamp(min=1e-30) for core in cores])
    common = sizes.log().mean().exp()
    first, second, third = (core * (common / size) for core, size in zip(cores, sizes, strict=True))
    return first, second, third
