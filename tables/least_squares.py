"""Rows whose combination comes closest, in squares, to given vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from recsys.tables.base import Table

Combine = Callable[[Sequence[Tensor], Tensor], Tensor]
"""From matrices and the places [N] of ids to the vectors [N, D] of these ids; linear in the matrices."""

_CHUNK = 1 << 16


@torch.no_grad()
def solve_rows(
    combine: Combine,
    matrices: Sequence[Tensor],
    reads: Sequence[Tensor],
    vectors: Tensor,
    *,
    num_iterations: int = 50,
    tolerance: float = 1e-6,
) -> None:
    """Overwrite matrices with the least-squares solution of combine(matrices) = vectors, rows nobody reads excepted.

    Conjugate gradients on the normal equations (CGLS), scaled by how often each row is read: where vectors are rows
    side by side the first step is the mean, and exact. From zeros, so that of many solutions it finds the smallest.
    What is left falls in every step; one after which it does not was rounding, and is not taken.

    Shape:
        matrices [R, W] each; reads [R] each, how often a row is read; vectors [V, D]

    Args:
        combine: see Combine.
        matrices: to be overwritten.
        reads: of each matrix.
        vectors: wanted.
        num_iterations: at most.
        tolerance: of the gradient's norm, relative to the first.
    """
    scales = [torch.where(count > 0, 1 / count.clamp(min=1), 0).unsqueeze(1).to(vectors) for count in reads]
    solution = [torch.zeros_like(matrix) for matrix in matrices]
    residual, error = vectors, _size(vectors)
    gradient = _adjoint(combine, solution, residual)
    direction = [scale * each for scale, each in zip(scales, gradient, strict=True)]
    first = norm = _dot(gradient, direction)
    for _ in range(num_iterations):
        if not norm > tolerance**2 * first:
            break
        along = _forward(combine, direction, len(vectors))
        step = norm / _size(along)
        residual, before = residual.sub(along, alpha=step), error
        error = _size(residual)
        if not error < before:
            break
        for each, towards in zip(solution, direction, strict=True):
            each.add_(towards, alpha=step)
        gradient = _adjoint(combine, solution, residual)
        scaled = [scale * each for scale, each in zip(scales, gradient, strict=True)]
        norm, before = _dot(gradient, scaled), norm
        direction = [each + norm / before * old for each, old in zip(scaled, direction, strict=True)]
    for matrix, found, count in zip(matrices, solution, reads, strict=True):
        matrix.copy_(torch.where((count > 0).unsqueeze(1), found, matrix))


def _size(vectors: Tensor) -> float:
    """The sum of squares."""
    return float(vectors.double().square().sum())


def _dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    return sum(float((a.double() * b).sum()) for a, b in zip(first, second, strict=True))


def _forward(combine: Combine, matrices: Sequence[Tensor], num_ids: int) -> Tensor:
    return torch.cat([combine(matrices, places) for places in torch.arange(num_ids).split(_CHUNK)])


def _adjoint(combine: Combine, matrices: Sequence[Tensor], residual: Tensor) -> list[Tensor]:
    """What the transposed map gives for vectors: the gradient of their product with what is combined."""
    total = [torch.zeros_like(matrix) for matrix in matrices]
    for places in torch.arange(len(residual)).split(_CHUNK):
        with torch.enable_grad():
            leaves = [matrix.detach().requires_grad_() for matrix in matrices]
            product = (combine(leaves, places) * residual[places]).sum()
        for each, gradient in zip(total, torch.autograd.grad(product, leaves, allow_unused=True), strict=True):
            if gradient is not None:
                each.add_(gradient)
    return total


@torch.no_grad()
def solve_product(
    matrices: Sequence[Tensor], codes: Tensor, vectors: Tensor, *, num_iterations: int = 60, tolerance: float = 1e-7
) -> None:
    """Overwrite matrices so that the product of one row of each comes closest to vectors: rank one in every column.

    Alternating least squares, each column apart: with all rows but those of one matrix given, the best row of it is
    sum(v * others) / sum(others ** 2) over the ids that read it. For two matrices this is the power iteration, which
    finds the first singular vectors. It starts from the rows as they are, so they must not be zeros.

    Shape:
        matrices [R_k, D] each, codes [K, V] the row of each id, vectors [V, D]

    Args:
        matrices: to be overwritten.
        codes: see above.
        vectors: wanted.
        num_iterations: over all matrices, at most.
        tolerance: of the change of the squared error, relative to the vectors.
    """
    size, error = float(vectors.double().square().sum()), float("inf")
    for _ in range(num_iterations):
        for k, matrix in enumerate(matrices):
            others = _product([each[codes[j]] for j, each in enumerate(matrices) if j != k], vectors)
            above = torch.zeros_like(matrix).index_add_(0, codes[k], vectors * others)
            below = torch.zeros_like(matrix).index_add_(0, codes[k], others * others)
            matrix.copy_(torch.where(below > 0, above / below, matrix))
        _balance(matrices)
        found = _product([each[codes[j]] for j, each in enumerate(matrices)], vectors)
        error, before = float((vectors - found).double().square().sum()), error
        if not before - error > tolerance * size:
            break


def _product(factors: Sequence[Tensor], like: Tensor) -> Tensor:
    product = torch.ones_like(like)
    for factor in factors:
        product = product * factor
    return product


def _balance(matrices: Sequence[Tensor]) -> None:
    """Give the columns of all matrices one root mean square, which leaves their product as it is."""
    scales = torch.stack([matrix.square().mean(0).sqrt().clamp(min=1e-30) for matrix in matrices])
    common = scales.log().mean(0).exp()
    for matrix, scale in zip(matrices, scales, strict=True):
        matrix.mul_(common / scale)


def reads_of(codes: Sequence[Tensor], matrices: Sequence[Tensor]) -> list[Tensor]:
    """How often each row of each matrix is read, where -1 is no row."""
    pairs = zip(codes, matrices, strict=True)
    return [torch.bincount(code[code >= 0], minlength=len(matrix)) for code, matrix in pairs]


def mean_without(present: Tensor, vectors: Tensor) -> Tensor:
    """In every column the mean of the values that are not present; of all where none is absent: [N, D] -> [D]."""
    absent = ~present
    absent |= ~absent.any(0)
    return (vectors * absent).sum(0, dtype=torch.float64).div(absent.sum(0).clamp(min=1)).to(vectors.dtype)


def read_present(matrix: Tensor, rows: Tensor) -> Tensor:
    """Rows [N] of a matrix, zeros for -1."""
    return matrix[rows.clamp(min=0)].masked_fill((rows < 0).unsqueeze(1), 0)


def vectors_from(table: Table, ids: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
    """The vectors [N, D] of ids [N] of a table, from its matrices by name."""
    if not rows:
        return table.vectors_of(torch.zeros(len(ids), 0), ids)
    names = [physical.name for physical in table.physical_tables()]
    found = []
    for some in ids.split(_CHUNK):
        pairs = zip(names, table.rows_of(some), strict=True)
        found.append(table.vectors_of([read_present(rows[name], codes) for name, codes in pairs], some))
    return torch.cat(found) if found else torch.zeros(0, table.embedding_dim)


def squared_error(table: Table, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> float:
    """The sum of the squares of what a table leaves of vectors."""
    blocks = zip(vectors.split(_CHUNK), ids.split(_CHUNK), strict=True)
    return sum(float((some - vectors_from(table, own, rows)).double().square().sum()) for some, own in blocks)


def fit_linear(table: Table, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
    """Overwrite the rows of a table that combines them linearly; see Table.fit."""
    names = list(rows)
    slots = [names.index(physical.name) for physical in table.physical_tables()]
    codes = table.rows_of(ids)

    def combine(matrices: Sequence[Tensor], places: Tensor) -> Tensor:
        pieces = [read_present(matrices[m], codes[k, places]) for k, m in enumerate(slots)]
        return table.vectors_of(pieces, ids[places])

    by_matrix = [codes[[k for k, slot in enumerate(slots) if slot == m]] for m in range(len(names))]
    matrices = list(rows.values())
    solve_rows(combine, matrices, reads_of(by_matrix, matrices), vectors)
