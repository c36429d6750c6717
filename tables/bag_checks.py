"""What cannot be the bags of an EmbeddingBag, in a sentence that names it."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.tables.input_checks import check_offsets, check_weights
from recsys.tables.placement import check_dense


def check_pooled(
    owner: str,
    ids: Tensor,
    offsets: Tensor | None,
    weights: Tensor | None,
    mode: str,
    include_last_offset: bool,
    dtype: torch.dtype,
) -> None:
    """Refuse ids, offsets and weights that do not go together, of which torch's kernels refuse some and end at others.

    Args:
        owner: for messages.
        ids: checked ones, [N] or [B, L].
        offsets: [B] with ids [N], None with ids [B, L].
        weights: like ids, or None.
        mode: of the pooling.
        include_last_offset: offsets has a last entry more.
        dtype: of the vectors.

    Raises:
        ValueError: saying what is wrong.
        NotImplementedError: on weights with another mode than "sum", as nn.EmbeddingBag.
    """
    if ids.dim() not in (1, 2):
        raise ValueError(f"{owner}: ids must be [N] with offsets, or [B, L], got {list(ids.shape)}.")
    if (offsets is None) != (ids.dim() == 2):
        given = "none" if offsets is None else "offsets"
        raise ValueError(f"{owner}: offsets go with ids [N] and not with [B, L]; got ids {list(ids.shape)}, {given}.")
    for name, values in (("offsets", offsets), ("per_sample_weights", weights)):
        if isinstance(values, Tensor):
            _check_kind(owner, name, values, ids)
    if offsets is not None:
        check_offsets(owner, offsets, ids.shape[0], include_last_offset)
    if weights is not None:
        _check_weights(owner, ids, weights, mode, dtype)


def _check_kind(owner: str, name: str, values: Tensor, ids: Tensor) -> None:
    """Refuse what kernels read as if it lay beside ids and does not: they check neither kind nor device."""
    if values.device != ids.device and not torch.compiler.is_compiling():
        raise ValueError(f"{owner}: {name} must be on '{ids.device}', as ids are, got '{values.device}'.")
    if not values.is_meta:
        check_dense(owner, name, values)


def _check_weights(owner: str, ids: Tensor, weights: Tensor, mode: str, dtype: torch.dtype) -> None:
    what = f"{owner}: per_sample_weights"
    if not isinstance(weights, Tensor):
        raise ValueError(f"{what} must be a Tensor like ids, got {type(weights).__name__}.")
    if mode != "sum":
        raise NotImplementedError(f"{what} go with mode='sum', got mode='{mode}'.")
    if weights.shape != ids.shape:
        raise ValueError(f"{what} must have the shape of ids, {list(ids.shape)}, got {list(weights.shape)}.")
    check_weights(what, weights, dtype)
