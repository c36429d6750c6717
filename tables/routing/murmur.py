"""MurmurHash3 of 64-bit keys to 128 bits, on int64 tensors, equal bit for bit to its unsigned definition.

Source: Austin Appleby's MurmurHash3_x64_128 (public domain), for a key of eight bytes in little-endian order, of which
thinc takes the four 32-bit words, under the name of MurmurHash3_x86_128.
"""

from __future__ import annotations

import torch
from torch import Tensor

_KEY_BYTES = 8
_FIRST, _SECOND = 0x87C37B91114253D5 - (1 << 64), 0x4CF5AD432745937F
_MIX_FIRST, _MIX_SECOND = 0xFF51AFD7ED558CCD - (1 << 64), 0xC4CEB9FE1A85EC53 - (1 << 64)


def _shifted(words: Tensor, bits: int) -> Tensor:
    """A logical shift to the right."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _mixed(words: Tensor) -> Tensor:
    """Let every bit of a word change about half of all of them."""
    words = (words ^ _shifted(words, 33)) * _MIX_FIRST
    words = (words ^ _shifted(words, 33)) * _MIX_SECOND
    return words ^ _shifted(words, 33)


def murmur3_words(keys: Tensor, seeds: Tensor | int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four unsigned 32-bit words of every key's hash.

    With seed 8, the length of a key, key 0 hashes to four zeros.

    Args:
        keys: int64 of any shape, taken as the uint64 of the same bits.
        seeds: in [0, 2**32), broadcast against the keys.

    Returns: int64 words in [0, 2**32), of the broadcast shape.

    >>> [int(word) for word in murmur3_words(torch.tensor(1), 0)]
    [4211459146, 4457399, 3547175942, 1032506804]
    """
    keyed = keys.long() * _FIRST
    keyed = ((keyed << 31) | _shifted(keyed, 33)) * _SECOND
    start = torch.zeros_like(keyed) + (seeds ^ _KEY_BYTES)
    first = (keyed ^ start) + start
    second = start + first
    first, second = _mixed(first), _mixed(second)
    first = first + second
    second = second + first
    low = (1 << 32) - 1
    return first & low, _shifted(first, 32), second & low, _shifted(second, 32)
