"""What queries, items, ids and readings of a loss must be: kinds and shapes everywhere, values on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.losses.base import Catalogue, ItemReader, Reading


def check_read(owner: str, reader: ItemReader, inputs: Tensor, targets: Tensor) -> None:
    """Refuse what no items can be read by, and ids that are of none.

    Args:
        owner: the loss.
        reader: of the items.
        inputs: [M] ids of the events that the model reads.
        targets: [P] ids to be named.

    Raises:
        ValueError: naming the argument and what was given.
    """
    if not isinstance(reader, ItemReader):
        raise ValueError(f"{owner}: reader must be an ItemReader, got {type(reader).__name__}.")
    check_item_ids(owner, "inputs", inputs, reader.catalogue, dims=1)
    check_item_ids(owner, "targets", targets, reader.catalogue, dims=1)


def check_item_ids(owner: str, name: str, ids: Tensor, catalogue: Catalogue, dims: int | None = None) -> None:
    """Refuse what are no ids of a catalogue, of so many dimensions if they are given; their values on a CPU.

    Raises:
        ValueError: naming the argument and what was given.
    """
    if not isinstance(catalogue, Catalogue):
        raise ValueError(f"{owner}: catalogue must be a Catalogue, got {type(catalogue).__name__}.")
    what = f"{owner}: {name} must be ids of items, int64 or int32{' [N]' if dims == 1 else ''}"
    if not isinstance(ids, Tensor):
        raise ValueError(f"{what}, got {type(ids).__name__}.")
    if ids.dtype not in (torch.int64, torch.int32) or (dims is not None and ids.dim() != dims):
        raise ValueError(f"{what}, got {list(ids.shape)} of {ids.dtype}.")
    if ids.device.type != "cpu" or not ids.numel() or torch.compiler.is_compiling():
        return
    low, high = (int(each) for each in ids.aminmax())
    if low < 1 or high > catalogue.num_items:
        limit = f"[1, num_items={catalogue.num_items}]"
        raise ValueError(f"{owner}: {name} must be in {limit}, got {low if low < 1 else high}.")


def check_drawn(owner: str, drawn: Tensor, catalogue: Catalogue, num_targets: int) -> None:
    """Refuse what are no negatives, ids [K] for all targets or [P, K]; their values on a CPU.

    Raises:
        ValueError: naming the sampler and what it drew.
    """
    check_item_ids(owner, "what is drawn", drawn, catalogue)
    if drawn.dim() != 1 and (drawn.dim() != 2 or drawn.shape[0] != num_targets):
        raise ValueError(
            f"{owner}: what is drawn must be ids [K] for all targets, or [{num_targets}, K], got {list(drawn.shape)}."
        )


def check_sides(owner: str, queries: Tensor, items: Tensor) -> None:
    """Refuse queries and items that a scoring gives other widths.

    Raises:
        ValueError: naming both widths.
    """
    if queries.shape[-1] != items.shape[-1]:
        raise ValueError(
            f"{owner}: scoring must give queries and items of one width, got {queries.shape[-1]} and {items.shape[-1]}."
        )


def check_called(owner: str, hidden: Tensor, reading: Reading) -> None:
    """Refuse hidden states that are not one for each target, as wide as the vectors of items.

    Raises:
        ValueError: naming the argument and what was given.
    """
    if not isinstance(reading, Reading):
        raise ValueError(f"{owner}: reading must be what its read() gave, got {type(reading).__name__}.")
    if not isinstance(hidden, Tensor):
        raise ValueError(f"{owner}: hidden must be a Tensor [P, D], got {type(hidden).__name__}.")
    wanted = (reading.targets.shape[0], reading.inputs.shape[-1])
    if not hidden.is_floating_point() or hidden.layout != torch.strided or tuple(hidden.shape) != wanted:
        raise ValueError(
            f"{owner}: hidden must be floats {list(wanted)}, one state for each target, as wide as items are, got "
            f"{list(hidden.shape)} of {hidden.dtype}."
        )


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
