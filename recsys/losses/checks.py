"""What queries, items and targets of a loss must be; checked where a stranger calls, not in every training step."""

from __future__ import annotations

import torch
from torch import Tensor


def check_matrices(owner: str, queries: Tensor, items: Tensor) -> None:
    """Refuse what is not queries [P, D] and items [V, D] of real numbers.

    Raises:
        ValueError: naming the argument and what was given.
    """
    for name, values in (("queries", queries), ("items", items)):
        if not isinstance(values, Tensor):
            raise ValueError(f"{owner}: {name} must be a Tensor, got {values!r}.")
        if values.is_nested:
            raise ValueError(f"{owner}: {name} must be a matrix of floating-point numbers, got a nested tensor.")
        if values.dim() != 2 or not values.is_floating_point() or values.layout != torch.strided:
            raise ValueError(
                f"{owner}: {name} must be a matrix of floating-point numbers, got {list(values.shape)} of "
                f"{values.dtype}, {values.layout} on '{values.device}'."
            )
    if queries.device != items.device:
        raise ValueError(
            f"{owner}: queries and items must be on one device, got '{queries.device}' and '{items.device}'."
        )
    if queries.shape[1] != items.shape[1] or not len(items):
        raise ValueError(
            f"{owner}: queries [P, D] and items [V, D] must have one width and at least one item, got "
            f"{list(queries.shape)} and {list(items.shape)}."
        )


def check_targets(owner: str, targets: Tensor, queries: Tensor, num_items: int) -> None:
    """Refuse what is not targets [P] in [0, V); their values on a CPU.

    Raises:
        ValueError: naming what was given.
    """
    if not isinstance(targets, Tensor):
        raise ValueError(f"{owner}: targets must be a Tensor, got {targets!r}.")
    if targets.is_nested or targets.layout != torch.strided:
        raise ValueError(f"{owner}: targets must be an ordinary tensor, got a nested or sparse one.")
    if targets.device != queries.device:
        raise ValueError(f"{owner}: targets must be on '{queries.device}', as queries are, got '{targets.device}'.")
    num_queries = len(queries)
    if targets.dtype not in (torch.int64, torch.int32) or targets.shape != (num_queries,):
        raise ValueError(
            f"{owner}: targets must be int64 or int32 [{num_queries}], got {list(targets.shape)} of {targets.dtype}."
        )
    if targets.device.type != "cpu" or not num_queries or torch.compiler.is_compiling():
        return
    low, high = (int(each) for each in targets.aminmax())
    if low < 0 or high >= num_items:
        raise ValueError(f"{owner}: targets must be in [0, {num_items}), got {low if low < 0 else high}.")
