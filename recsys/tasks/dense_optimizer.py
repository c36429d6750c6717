"""The optimizer of dense parameters, made from what a config says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def made_optimizer(
    owner: str, factory: Callable[[list[dict[str, Any]]], torch.optim.Optimizer], groups: list[dict[str, Any]]
) -> torch.optim.Optimizer:
    """The optimizer of these groups.

    Raises:
        ValueError: naming the owner, with what the optimizer refuses, or if it takes no dense gradients.
    """
    try:
        optimizer = factory(groups)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{owner}: optimizer cannot be made, see model.optimizer: {error}.") from error
    if isinstance(optimizer, torch.optim.SparseAdam):
        raise ValueError(
            f"{owner}: optimizer must take dense gradients, got SparseAdam; choose torch.optim.Adam, and "
            "table_optimizer: Adam for rows."
        )
    return optimizer
