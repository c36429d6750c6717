"""What cannot be scores, targets, counts or sessions of a ranking, in a sentence that names it.

Bags are looked at before they are expanded: where lengths add up to more than it was told, torch writes beyond its
memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.tables import Bag
from recsys.tables.placement import INTEGERS


def check_scores(scores: Tensor) -> None:
    """Refuse scores that are no [B, V] of floats.

    Raises:
        ValueError: naming what was given.
    """
    _check_kind("scores", scores, 2)
    if not scores.is_floating_point():
        raise ValueError(f"scores must be floats, got {scores.dtype}.")


def check_targets(scores: Tensor, targets: Tensor, first: int = 0) -> None:
    """Refuse scores that are no [B, V], and targets that are no columns of theirs, counted from `first`; on a CPU.

    Raises:
        ValueError: naming what was given.
    """
    _check_kind("scores", scores, 2)
    _check_kind("targets", targets, 1)
    if not scores.is_floating_point() or targets.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"scores must be floats and targets integers, got {scores.dtype} and {targets.dtype}.")
    if len(scores) != len(targets):
        raise ValueError(f"scores and targets must be of the same rows, got {len(scores)} and {len(targets)}.")
    last = first + scores.shape[1] - 1
    if targets.device.type == "cpu" and len(targets) and not bool(((targets >= first) & (targets <= last)).all()):
        raise ValueError(f"targets must be columns of scores, in [{first}, {last}], got {targets.tolist()[:5]}.")


def check_counts(item_counts: Tensor) -> None:
    """Refuse what does not say how often each item is a training event.

    Raises:
        ValueError: naming what was given.
    """
    is_fine = item_counts.dtype in INTEGERS and item_counts.layout == torch.strided and not item_counts.is_meta
    if not is_fine or item_counts.dim() != 1 or len(item_counts) < 2:
        got = f"{list(item_counts.shape)} of {item_counts.dtype} on '{item_counts.device}'"
        raise ValueError(f"RankingMetrics: item_counts must be whole numbers [V + 1], got {got}.")
    if int(item_counts.min()) < 0:
        raise ValueError(f"RankingMetrics: item_counts must be at least 0, got {int(item_counts.min())}.")


def check_item_ids(name: str, items: Tensor, dims: int, num_items: int, first: int = 1) -> None:
    """Refuse what are no ids of items, from `first` to num_items; their values on a CPU.

    Raises:
        ValueError: naming what was given.
    """
    if isinstance(num_items, bool) or not isinstance(num_items, int) or not 1 <= num_items < 1 << 31:
        raise ValueError(f"num_items must be a whole number in [1, 2**31), got {num_items!r}.")
    _check_kind(name, items, dims)
    if items.dtype not in INTEGERS:
        raise ValueError(f"{name} must be integers, got {items.dtype}.")
    if items.device.type == "cpu" and items.numel():
        low, high = (int(each) for each in items.aminmax())
        if low < first or high > num_items:
            raise ValueError(f"{name} must be in [{first}, {num_items}], got {low if low < first else high}.")


def check_sessions(name: str, bag: Bag, num_sessions: int, num_items: int, device: torch.device) -> None:
    """Refuse what are no ids of items of so many sessions on a device; values and lengths on a CPU.

    Raises:
        ValueError: naming what was given.
    """
    if not isinstance(bag, Bag):
        raise ValueError(f"{name} must be a Bag of the items of {num_sessions} sessions, got {type(bag).__name__}.")
    check_item_ids(name, bag.values, 1, num_items)
    lengths = bag.lengths
    _check_kind(f"lengths of {name}", lengths, 1)
    if lengths.dtype not in INTEGERS or {lengths.device, bag.values.device} != {device}:
        got = f"{lengths.dtype} on '{lengths.device}', and items on '{bag.values.device}'"
        raise ValueError(f"lengths of {name} must be integers on '{device}', got {got}.")
    if len(lengths) != num_sessions:
        raise ValueError(f"{name} must be of {num_sessions} sessions, one for each row of scores, got {len(lengths)}.")
    if lengths.device.type != "cpu" or not num_sessions:
        return
    least, total = int(lengths.min()), int(lengths.sum(dtype=torch.int64))
    if least < 0 or total != len(bag.values):
        raise ValueError(
            f"lengths of {name} must be at least 0 and add up to its {len(bag.values)} items, got {least} at least and "
            f"{total} in all."
        )


def _check_kind(name: str, values: Tensor, dims: int) -> None:
    is_tensor = isinstance(values, Tensor) and not values.is_nested
    if not is_tensor or values.dim() != dims or values.layout != torch.strided:
        got = f"{list(values.shape)}, {values.layout}" if is_tensor else type(values).__name__
        raise ValueError(f"{name} must be a Tensor {'[B]' if dims == 1 else '[B, V]'}, got {got}.")
