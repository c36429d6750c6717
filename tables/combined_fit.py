"""Parts whose sum comes near given vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recsys.tables.least_squares import vectors_from

if TYPE_CHECKING:
    from recsys.tables.base import Table

_ROUNDS = 30
_TOLERANCE = 1e-6


@torch.no_grad()
def fit_sum(
    parts: Sequence[Table], scales: Sequence[Tensor], vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]
) -> None:
    """Fit each part in turn to what the others leave, those of the fewest values first.

    Where every part has its least-squares solution, so does, in the end, the sum. A part that has a row for every id
    comes last: it takes what others cannot express.

    Shape:
        scales [N] of each part, which may be 0; vectors [N, D], ids [N], rows [R, W] of each matrix by name

    Raises:
        ValueError: if a part cannot start from vectors, or two parts share rows.
    """
    check_apart(parts)
    order = sorted(range(len(parts)), key=lambda place: _num_values(parts[place]))
    found = [torch.zeros_like(vectors) for _ in parts]
    left, size, error = vectors.clone(), float(vectors.double().square().sum()), float("inf")
    for _ in range(_ROUNDS):
        for place in order:
            reads = scales[place] != 0
            scale = scales[place][reads].unsqueeze(1)
            left[reads] += scale * found[place][reads]
            own = {physical.name: rows[physical.name] for physical in parts[place].physical_tables()}
            parts[place].fit(left[reads] / scale, ids[reads], own)
            found[place][reads] = vectors_from(parts[place], ids[reads], own)
            left[reads] -= scale * found[place][reads]
        before, error = error, float(left.double().square().sum())
        if not before - error > _TOLERANCE * size:
            break


def _num_values(part: Table) -> int:
    matrices = {physical.name: physical.num_rows * physical.row_dim for physical in part.physical_tables()}
    return sum(matrices.values()) + sum(parameter.numel() for parameter in part.parameters())


def check_apart(parts: Sequence[Table]) -> None:
    """Refuse parts that share rows: the last would overwrite what the first has found.

    Raises:
        ValueError: naming two of them.
    """
    names: dict[str, Table] = {}
    for part in parts:
        for name in {physical.name for physical in part.physical_tables()}:
            first = names.setdefault(name, part)
            if first is not part:
                raise ValueError(
                    f"{type(part).__name__} '{part.name}' shares the rows of '{name}' with '{first.name}', and they "
                    "cannot be started from given vectors one by one; give them two storages."
                )
