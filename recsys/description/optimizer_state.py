"""Bytes that a checkpoint's dense optimizers keep: of rows with dense gradients, tables' own parameters, the model.

Moments and the like are counted, step counters (one number a parameter) are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recsys.tables import TableCollection

StateBytes = Mapping[nn.Parameter, int]
"""Bytes of optimizer state of each parameter that has any."""


@dataclass(frozen=True)
class DenseModel:
    """What a task trains beside its tables.

    Args:
        num_parameters: values of all parameters.
        stored_bytes: of the parameters.
        state_bytes: of their optimizer state.
    """

    num_parameters: int
    stored_bytes: int
    state_bytes: int


def read_state_bytes(optimizers: Sequence[torch.optim.Optimizer], states: Sequence[Mapping[str, Any]]) -> StateBytes:
    """The bytes of each parameter's state in a checkpoint.

    Args:
        optimizers: of the task, in their order.
        states: `optimizer_states` of the checkpoint; empty if it was saved without them.

    Raises:
        ValueError: if the states are not those of such optimizers.
    """
    found: dict[nn.Parameter, int] = {}
    for optimizer, saved in zip(optimizers, states, strict=False):
        sizes = [len(group["params"]) for group in optimizer.param_groups]
        saved_sizes = [len(group["params"]) for group in saved["param_groups"]]
        if sizes != saved_sizes:
            raise ValueError(
                f"the checkpoint's optimizer has groups of {saved_sizes} parameters, and the config's of {sizes}."
            )
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        places = [place for group in saved["param_groups"] for place in group["params"]]
        for parameter, place in zip(parameters, places, strict=True):
            found[parameter] = tensor_bytes(saved["state"].get(place, {}).values())
    return found


def tensor_bytes(state: Iterable[object]) -> int:
    """Bytes of the tensors in a parameter's state, step counters left out."""
    tensors = (value for value in state if isinstance(value, Tensor) and value.ndim)
    return sum(value.numel() * value.element_size() for value in tensors)


def table_state_bytes(collection: TableCollection, name: str, found: StateBytes) -> int:
    """State of a table's own parameters and of its matrices with dense gradients, a shared matrix in full."""
    table, lookup = collection.table(name), collection.lookup
    total = sum(found.get(parameter, 0) for parameter in table.parameters())
    for physical in {physical.name: physical for physical in table.physical_tables()}.values():
        rows = lookup.dense_parameter(physical.name)
        if rows is not None:
            # Matrices of equal width are stacked in one parameter.
            total += found.get(rows, 0) * physical.num_rows // len(rows)
    return total


def dense_model(task: nn.Module, collection: TableCollection, found: StateBytes) -> DenseModel:
    """The parameters of a task outside its tables."""
    inside = set(collection.parameters())
    parameters = [parameter for parameter in task.parameters() if parameter not in inside]
    return DenseModel(
        num_parameters=sum(parameter.numel() for parameter in parameters),
        stored_bytes=sum(parameter.numel() * parameter.element_size() for parameter in parameters),
        state_bytes=sum(found.get(parameter, 0) for parameter in parameters),
    )
