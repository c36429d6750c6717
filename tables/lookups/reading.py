"""Rows as a batch reads them: their values now, and what a backward pass gives them kept for a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recsys.tables.lookups.gradients import SENTINEL, Part, Record, RowGradients
from recsys.tables.lookups.started import InputDistribution
from recsys.tables.lookups.summed import added_up

if TYPE_CHECKING:
    from recsys.tables.lookups.store import Store


class _ReadRows(torch.autograd.Function):
    """Rows as they were read; the backward pass notes their gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: Tensor,
        handle: Tensor,
        gradients: RowGradients,
        part: Part,
        rows: Tensor,
        distribution: InputDistribution | None,
        num_summed: int,
    ) -> Tensor:
        ctx.read = (gradients, part, rows, distribution, num_summed)
        return vectors.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gradients, part, rows, distribution, num_summed = ctx.read
        gradients.note(part, Record(rows, grad.contiguous(), distribution, num_summed))
        if not gradients.may_be_scaled:
            return None, torch.full_like(gradients.handle, SENTINEL), None, None, None, None, None
        # A gradient that is not finite makes the handle's so: a step that is skipped for it skips the rows.
        norm = torch.linalg.vector_norm(grad, dtype=torch.promote_types(grad.dtype, torch.float32))
        return None, norm.to(gradients.handle).mul(0.0).add(SENTINEL), None, None, None, None, None


def read_rows(
    store: Store,
    gradients: RowGradients,
    rows: Tensor,
    part: int = 0,
    distribution: InputDistribution | None = None,
    num_summed: int = 1,
) -> Tensor:
    """Rows [N, row_dim] of a store, whose gradients wait for a step, unless rows are frozen or only evaluated.

    Args:
        store: that is read.
        gradients: of its lookup.
        rows: row numbers [N * K].
        part: of the store that is read; parts have no row in common, and each is stepped by itself.
        distribution: what `store.start` gave for them.
        num_summed: K neighbouring rows that are added up.
    """
    if not store.steps:
        return store.gather_sums(rows, num_summed)
    if num_summed > 1 and not store.steps_sums:
        return added_up(read_rows(store, gradients, rows, part, distribution), num_summed)
    if distribution is None:
        distribution = store.start(rows, waits=True)
    with torch.no_grad():
        vectors = store.gather_sums(rows, num_summed) if distribution is None else store.look_up(distribution)
    if gradients.is_frozen or not store.training or not torch.is_grad_enabled():
        return vectors
    gradients.introduce()
    place = (gradients.position(store), part)
    read: Tensor = _ReadRows.apply(vectors, gradients.handle, gradients, place, rows, distribution, num_summed)
    return read
