"""Integer hashes on int64 tensors, equal bit for bit to their unsigned 64-bit definitions.

torch has no unsigned shifts or products on the CPU, so every logical shift is an arithmetic one with a mask, and
products wrap in two's complement. No float touches an id.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
MAX_BUCKETS = 1 << 31


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

    Shape:
        values [N] -> float32 [N, width]
    """
    columns = torch.arange(width, device=values.device)
    bits = mix64(mix64(values, seed).unsqueeze(1), columns)
    # The upper 24 bits are exact in a float32.
    return ((bits >> 40) & ((1 << 24) - 1)).float() / (1 << 23) - 1


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
    """The int64 seed of one lookup of one feature; it depends on nothing but the name and the probe number."""
    mixed = mix64(torch.tensor([_signed(fnv1a64(name) ^ (probe * _GOLDEN))]))
    return int(mixed.item())


def name_seeds(name: str, num_lookups: int) -> list[int]:
    """Seeds of probes 0 .. num_lookups - 1 of a feature."""
    return [name_seed(name, probe) for probe in range(num_lookups)]


def expected_collisions(num_ids: int, num_rows: Sequence[int]) -> float:
    """How many of `num_ids` ids are expected to share all their rows with another id already seen.

    Ids minus the expected number of distinct row tuples: V - S (1 - (1 - 1/S) ** V), S the product of `num_rows`.

    >>> round(expected_collisions(1000, [1000]))
    368
    """
    slots = 1.0
    for rows in num_rows:
        slots *= rows
    if slots <= 1:
        return float(max(num_ids - 1, 0))
    exponent = torch.tensor(num_ids, dtype=torch.float64) * torch.log1p(torch.tensor(-1.0 / slots, dtype=torch.float64))
    return max(0.0, num_ids + slots * float(torch.expm1(exponent)))
