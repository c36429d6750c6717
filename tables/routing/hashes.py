"""Integer hashes on int64 tensors, equal bit for bit to their unsigned 64-bit definitions.

torch has no unsigned shifts or products on the CPU, so every logical shift is an arithmetic one with a mask, and
products wrap in two's complement. No float touches an id.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from recsys.tables.programs import can_be_looked_at

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
MAX_BUCKETS = 1 << 31
MAX_LOOKUPS = 32
"""Rows that an id may add up; MAX_BUCKETS to this power is a float yet."""
_AT_ONCE = 1 << 15
"""Hashes that a CPU computes at a time, which its cache holds."""


def _signed(value: int) -> int:
    """The int64 that has the same 64 bits as the unsigned value."""
    value &= _MASK
    return value - (1 << 64) if value >= 1 << 63 else value


def _xor_shift_right_(state: Tensor, bits: int) -> Tensor:
    shifted = state >> bits
    shifted &= (1 << (64 - bits)) - 1
    state ^= shifted
    return state


def mix64(values: Tensor, seeds: Tensor | int = 0) -> Tensor:
    """One splitmix64 output per value: a bijection of 64-bit words for every seed.

    Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014), section 5.

    Args:
        values: integers of any shape.
        seeds: one int64 seed, or a tensor that broadcasts against `values`.

    Returns: int64 of the broadcast shape.

    >>> hex(mix64(torch.tensor([0])).item() & (1 << 64) - 1)
    '0xe220a8397b1dcdaf'
    """
    state = values.long() + seeds
    state += _signed(_GOLDEN)
    _xor_shift_right_(state, 30).mul_(_signed(_MULTIPLIERS[0]))
    _xor_shift_right_(state, 27).mul_(_signed(_MULTIPLIERS[1]))
    return _xor_shift_right_(state, 31)


def bucket(values: Tensor, seeds: Tensor | int, num_buckets: Tensor | int) -> Tensor:
    """A uniform bucket in [0, num_buckets) for each value, by multiply-shift: no division, no modulo bias.

    Args:
        values: int64 ids of any shape; every int64 is allowed.
        seeds: int64, broadcasts against `values`.
        num_buckets: in [1, 2**31], broadcasts against `values`.

    Returns: int64 of the broadcast shape.
    """
    state = mix64(values, seeds)
    state >>= 32
    state &= (1 << 32) - 1
    state *= num_buckets
    state >>= 32
    return state


def hashed_uniform(values: Tensor, seed: Tensor | int, width: int) -> Tensor:
    """Numbers uniform in [-1, 1) that depend on a value, its column and the seed alone, not on a generator's state.

    They are the upper 24 bits of mix64 of mix64 of the value and the column: exact in a float32.

    Args:
        values: integers of any shape [...].
        seed: broadcasts against `values`.
        width: columns.

    Returns: float32 [..., width].
    """
    mixed = mix64(values, seed)
    columns = torch.arange(width, device=values.device) + _signed(_GOLDEN)
    flat = mixed.reshape(-1, 1)
    if not can_be_looked_at(values):
        return _upper_bits(flat + columns).view(*mixed.shape, width)
    found = torch.empty(len(flat), width)
    num_values = max(1, _AT_ONCE // width)
    for block, own in zip(flat.split(num_values), found.split(num_values), strict=True):
        own.copy_(_upper_bits(block + columns))
    return found.view(*mixed.shape, width)


def _upper_bits(state: Tensor) -> Tensor:
    """The upper 24 bits of what mix64 makes of a state that it begins with, overwritten, as floats in [-1, 1)."""
    _xor_shift_right_(state, 30).mul_(_signed(_MULTIPLIERS[0]))
    _xor_shift_right_(state, 27).mul_(_signed(_MULTIPLIERS[1]))
    # Its last shift leaves them as they are; with the highest bit turned, their signed number begins at -2**23.
    state ^= -(1 << 63)
    state >>= 40
    return state.float().mul_(1 / (1 << 23))


def fnv1a64(text: str) -> int:
    """FNV-1a of the UTF-8 bytes, unsigned 64 bits: the same on every machine, unlike Python's hash().

    >>> hex(fnv1a64("C1"))
    '0x90f7f07b5a73a39'
    """
    state = 0xCBF29CE484222325
    for byte in text.encode():
        state = ((state ^ byte) * 0x100000001B3) & _MASK
    return state


def name_seed(name: str, probe: int = 0) -> int:
    """The int64 seed of one lookup of one feature: mix64 of the name and the probe number, in Python's integers.

    No tensor is made, so that tables can be built where tensors have no values.
    """
    state = (fnv1a64(name) ^ (probe * _GOLDEN)) + _GOLDEN
    for bits, multiplier in ((30, _MULTIPLIERS[0]), (27, _MULTIPLIERS[1])):
        state &= _MASK
        state = (state ^ (state >> bits)) * multiplier
    state &= _MASK
    return _signed(state ^ (state >> 31))


def name_seeds(name: str, num_lookups: int) -> list[int]:
    """Seeds of probes 0 .. num_lookups - 1 of a feature."""
    return [name_seed(name, probe) for probe in range(num_lookups)]


def expected_collisions(num_ids: int, num_rows: Sequence[int]) -> float:
    """How many of `num_ids` ids are expected to meet, in all their rows, an id before them.

    Ids minus the expected number of distinct tuples of rows: V - S (1 - (1 - 1/S) ** V), S the product of `num_rows`.

    >>> round(expected_collisions(1000, [1000]))
    368
    """
    return max(0.0, num_ids - _expected_distinct(num_ids, math.prod(map(float, num_rows)), 1.0))


def expected_sum_collisions(num_ids: int, num_rows: int, num_lookups: int) -> float:
    """The same where an id's rows are added up, so that their order does not tell ids apart.

    Sets of rows with repetition differ in how likely they are: K! / (m_1! m_2! ...) tuples give the set whose rows are
    repeated m_1, m_2, ... times. They are counted by the ways to write K as a sum of the m.

    >>> round(expected_sum_collisions(1000, 40, 2))
    425
    """
    tuples = float(num_rows) ** num_lookups
    distinct = 0.0
    for parts in _partitions(num_lookups, num_lookups):
        if len(parts) > num_rows:
            continue
        orders = math.factorial(num_lookups) / math.prod(map(math.factorial, parts))
        repeats = math.prod(math.factorial(parts.count(part)) for part in set(parts))
        num_sets = math.prod(float(num_rows - i) for i in range(len(parts))) / repeats
        distinct += _expected_distinct(num_ids, num_sets, orders * num_sets / tuples)
    return max(0.0, num_ids - distinct)


def _expected_distinct(num_ids: int, num_values: float, share: float) -> float:
    """How many of equally likely values, to which a share of the ids goes, are expected to be taken."""
    probability = share / num_values
    if probability >= 1:
        return float(min(1, num_ids))
    return -num_values * math.expm1(num_ids * math.log1p(-probability))


def _partitions(total: int, largest: int) -> Iterator[tuple[int, ...]]:
    """Ways to write a number as a sum, largest part first.

    >>> list(_partitions(3, 3))
    [(3,), (2, 1), (1, 1, 1)]
    """
    if total == 0:
        yield ()
    for part in range(min(total, largest), 0, -1):
        for rest in _partitions(total - part, part):
            yield (part, *rest)
