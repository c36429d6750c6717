"""Embeddings that start from given vectors, and tables that grow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from recsys.tables.base import Table
from recsys.tables.placement import check_dense

if TYPE_CHECKING:
    from recsys.tables.embedding import Embedding

E = TypeVar("E", bound="Embedding")
_CHUNK = 1 << 16
_MOST = 1e15


class Fitted(NamedTuple, Generic[E]):
    """An Embedding that starts from given vectors, and |given - its vectors| / |given|."""

    embedding: E
    error: float


def check_vectors(table: Table, weight: object) -> None:
    """Refuse what cannot be the vectors of a table.

    Raises:
        ValueError: naming what was given.
    """
    if not isinstance(weight, Tensor) or not weight.is_floating_point() or weight.is_meta:
        given = f"{weight.dtype} on {weight.device}" if isinstance(weight, Tensor) else type(weight).__name__
        raise ValueError(
            f"{type(table).__name__} '{table.name}': weight must be a Tensor of floating-point numbers, got {given}."
        )
    check_dense(f"{type(table).__name__} '{table.name}'", "weight", weight)


@torch.no_grad()
def fit(embedding: Embedding, weight: Tensor) -> float:
    """See Embedding.fit_."""
    table = embedding.table
    check_vectors(table, weight)
    weight = weight.detach()
    shape = (table.num_embeddings, table.embedding_dim)
    if weight.shape != shape or not weight.isfinite().all():
        got = list(weight.shape) if weight.shape != shape else "numbers that are not finite"
        raise ValueError(
            f"{type(table).__name__} '{table.name}': weight must be finite numbers of shape {list(shape)}, got {got}."
        )
    if table.keeps_vectors:
        embedding.set_rows({table.physical_tables()[0].name: weight})
    else:
        _fit_rows(embedding, weight)
    was_training = table.training
    table.eval()  # as in training vectors may be drawn anew whenever they are read
    try:
        return _error(embedding, weight)
    finally:
        table.train(was_training)


def _error(embedding: Embedding, weight: Tensor) -> float:
    wrong = size = 0.0
    for wanted, found in zip(weight.split(_CHUNK), embedding.all_vectors(_CHUNK), strict=True):
        wrong += float((wanted.to(found.device).double() - found).square().sum())
        size += float(wanted.double().square().sum())
    return math.sqrt(wrong / size) if size else math.sqrt(wrong)


def _fit_rows(embedding: Embedding, weight: Tensor) -> None:
    """On the CPU, in float32."""
    table, device, dtype = embedding.table, embedding.device, embedding.dtype
    largest = float(weight.abs().max())
    if largest > _MOST:
        raise ValueError(
            f"{type(table).__name__} '{table.name}': weight must be at most {_MOST:g} in magnitude, as sums of squares "
            f"are computed in float32, got {largest:g}."
        )
    ids, wanted = torch.arange(table.num_embeddings), weight.float().cpu()
    if embedding.padding_idx is not None:
        ids = ids[ids != embedding.padding_idx]
        wanted = wanted[ids]
    names = dict.fromkeys(physical.name for physical in table.physical_tables())
    rows = {name: embedding.all_rows(name).float().cpu().clone() for name in names}
    table.to(device="cpu", dtype=torch.float32)
    try:
        table.fit(wanted, ids, rows)
    finally:
        table.to(device=device, dtype=dtype)
    embedding.set_rows(rows)


@torch.no_grad()
def grown_table(table: Table, num_embeddings: int) -> Table:
    """A table of more ids, with the parameters of this one and what it has noted of ids.

    Raises:
        ValueError: see Table.grown.
    """
    grown = table.grown(num_embeddings)
    mine = {**dict(table.named_parameters()), **dict(table.named_buffers())}
    derived = {*table.constants(), *dict(table.named_buffers()).keys() - table.state_dict().keys()}
    for name, tensor in (*grown.named_parameters(), *grown.named_buffers()):
        if name in derived:
            continue
        # What is kept of every id has its ids last, and begins with the old ones.
        target = tensor[..., : mine[name].shape[-1]] if tensor.dim() else tensor
        target.copy_(mine[name])
    if type(table).get_extra_state is not torch.nn.Module.get_extra_state:
        grown.set_extra_state(table.get_extra_state())
    return grown.train(table.training)
