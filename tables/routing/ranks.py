"""Which of many things are kept, a bit each, and the number that each of them has among those that are.

Source: Jacobson, "Space-efficient static trees and graphs" (FOCS 1989): bits, and how many were set before each word of
them; 12 bytes for 64 things, where a number for each would take 256.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

WORD_BITS = 64
_PIECE_WORDS = 1 << 16
_PAIRS, _FOURS, _EIGHTS = 0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F
_ONES = 0x0101010101010101


def pack_bits(kept: Tensor) -> Tensor:
    """Flags [N] as words, int64 [ceil(N / 64)]; bit b of word w says whether 64 w + b is kept.

    >>> pack_bits(torch.tensor([True, False, True]))
    tensor([5])
    """
    words = torch.empty(-(-len(kept) // WORD_BITS), dtype=torch.int64)
    values = torch.ones(WORD_BITS, dtype=torch.int64) << torch.arange(WORD_BITS)
    for start in range(0, len(words), _PIECE_WORDS):
        piece = kept[start * WORD_BITS : (start + _PIECE_WORDS) * WORD_BITS]
        missing = -len(piece) % WORD_BITS
        padded = torch.cat([piece, piece.new_zeros(missing)]).view(-1, WORD_BITS)
        words[start : start + len(padded)] = (padded.long() * values).sum(1)
    return words


def more_words(words: Tensor, num_places: int) -> Tensor:
    """The words of `pack_bits` for more places, which are not kept."""
    return torch.cat([words, words.new_zeros(-(-num_places // WORD_BITS) - len(words))])


def count_bits(words: Tensor) -> Tensor:
    """How many bits of each word are set; integers of any shape.

    Source: Warren, "Hacker's Delight", 5-1, on signed words, whose shifts need a mask.
    """
    pairs = words - ((words >> 1) & _PAIRS)
    fours = (pairs & _FOURS) + ((pairs >> 2) & _FOURS)
    eights = (fours + (fours >> 4)) & _EIGHTS
    return ((eights * _ONES) >> 56) & 0xFF


def count_before(words: Tensor) -> Tensor:
    """How many bits are set before each word, int32.

    Raises:
        ValueError: if there are 2**31 or more of them.
    """
    counts = count_bits(words)
    total = counts.cumsum(0)
    if len(total) and int(total[-1]) >= 1 << 31:
        raise ValueError(f"bits: fewer than {1 << 31} of them may be set, got {int(total[-1])}.")
    return (total - counts).to(torch.int32)


def rank(places: Tensor, words: Callable[[Tensor], Tensor], before: Callable[[Tensor], Tensor]) -> Tensor:
    """The number of each place among those that are kept, or -1.

    Args:
        places: integers of any shape, at least 0.
        words: reads words by number.
        before: reads by number how many bits are set before a word.

    >>> words = pack_bits(torch.tensor([True, False, True]))
    >>> rank(torch.arange(3), words.__getitem__, count_before(words).__getitem__)
    tensor([ 0, -1,  1])
    """
    places = places.long()
    numbers, bits = places >> 6, places & (WORD_BITS - 1)
    found = words(numbers)
    # By name: of `<<` and `>>` by a tensor torch makes no ONNX.
    lower = torch.bitwise_left_shift(torch.ones_like(bits), bits) - 1
    number = before(numbers) + count_bits(found & lower)
    return torch.where((torch.bitwise_right_shift(found, bits) & 1) == 1, number, -1)
