"""Which items are alike, so that they tie exactly.

A matrix product may add up the numbers of its last rows and columns in another order than those of the others: two
items that are the same would get vectors, or scores, that differ in the last bit, unless what they share is made once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_ROWS_AT_A_TIME = 1 << 13


def equal_rows(rows: Tensor) -> tuple[Tensor, Tensor | None]:
    """Which rows are all there is, each once.

    Shape:
        float32 [V, D] -> the first [U] of every set of equal rows, and for every row [V] its place among them; None
        where no two rows are equal
    """
    firsts, places = _firsts_of(row_keys(rows))
    if places is None:
        return firsts, None
    if not torch.equal(rows, rows.index_select(0, firsts.index_select(0, places))):  # two rows with one key
        firsts, places = _firsts_of(rows.unique(dim=0, return_inverse=True)[1])
    return firsts, places


def twins(keys: Sequence[Tensor]) -> Tensor | None:
    """For every item the place of the first of its description, of whose parts keys are given; None if all differ.

    Shape:
        int64 [V] for each part -> [V]
    """
    mixed = torch.zeros_like(keys[0])
    for key in keys:
        mixed = _mix(mixed + key)
    firsts, places = _firsts_of(mixed)
    return None if places is None else firsts.index_select(0, places)


def row_keys(rows: Tensor) -> Tensor:
    """A number [V] of each row of float32 [V, D] that is the same for equal rows, and hardly ever for others."""
    factors = _factors(rows.shape[1]).to(rows.device)
    # Zero has two signs and one value.
    parts = [(_mix((part + 0.0).view(torch.int32).long() + factors)).sum(1) for part in rows.split(_ROWS_AT_A_TIME)]
    return torch.cat([rows.new_empty(0, dtype=torch.int64), *parts])


def bag_keys(values: Tensor, lengths: Tensor) -> Tensor:
    """A number [V] of each list of ids: values [N], one list after the other, and lengths [V]."""
    owners = torch.arange(len(lengths)).repeat_interleave(lengths)
    orders = torch.arange(len(values)) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    return lengths.clone().index_add_(0, owners, _mix(values + _mix(orders + 1)))


def _firsts_of(keys: Tensor) -> tuple[Tensor, Tensor | None]:
    """The first place of every key, and which of these each place belongs to; None where no two keys are equal."""
    everyone = torch.arange(len(keys), device=keys.device)
    distinct, places = keys.unique(return_inverse=True)
    if len(distinct) == len(keys):
        return everyone, None
    return everyone.new_full(distinct.shape, len(keys)).scatter_reduce_(0, places, everyone, "amin"), places


def _factors(number: int) -> Tensor:
    return torch.randint(1 << 62, (number,), generator=torch.Generator().manual_seed(0))


def _mix(keys: Tensor) -> Tensor:
    """Every bit of a key in every bit of the result: the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    keys = (keys ^ ((keys >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    keys = (keys ^ ((keys >> 27) & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return keys ^ ((keys >> 31) & 0x1FFFFFFFF)
