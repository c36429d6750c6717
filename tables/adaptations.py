"""From an item's codes to the rows of a table: which runs of codes have a row.

Sources: Singh et al. (RecSys 2024), arXiv:2306.08121; Zheng et al. (2025), arXiv:2504.02137.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.argument_types import check_fields

_FACTOR = 0x2545F4914F6CDD1D
"""Odd: products with it wrap past 64 bits and stay different."""


@dataclass(frozen=True)
class Adaptation(ABC):
    """Makes keys of codes c_0 .. c_{L-1} in [0, K); each key has a row, or the row that it is hashed to."""

    @abstractmethod
    def needs(self, num_levels: int) -> list[int]:
        """How many codes an item must have for each of its keys.

        Raises:
            ValueError: if L is not what the adaptation takes.
        """

    @abstractmethod
    def num_keys(self, num_levels: int, num_codes: int) -> int:
        """How many keys there are."""

    @abstractmethod
    def keys(self, codes: Tensor, num_codes: Tensor, exact: bool) -> Tensor:
        """Keys of codes, by integer arithmetic.

        Shape:
            codes [..., L, N], num_codes [..., 1, 1] or [..., 1, N] -> [..., P, N]

        Args:
            codes: int64.
            num_codes: K.
            exact: keys are all different and in [0, num_keys); otherwise any int64 to be hashed.
        """

    def seeds(self, num_lookups: int) -> list[int]:
        """Which seed hashes each key; keys that mean the same have the same."""
        return list(range(num_lookups))


@dataclass(frozen=True)
class NGrams(Adaptation):
    """Runs of `length` codes that do not overlap, each with K ** length rows; unigrams and bigrams of the first source.

    Args:
        length: codes of a run; it must divide the number of levels. With 3 or 4 levels and as many codes, the trigram
            and fourgram of the second source.
    """

    length: int = 1

    def __post_init__(self) -> None:
        """Refuse runs without codes."""
        check_fields(self)
        if self.length < 1:
            raise ValueError(f"NGrams: length must be at least 1, got {self.length!r}.")

    def needs(self, num_levels: int) -> list[int]:
        """The codes up to the run's end."""
        if num_levels % self.length:
            raise ValueError(f"NGrams: length must divide the number of levels {num_levels}, got {self.length}.")
        return list(range(self.length, num_levels + 1, self.length))

    def num_keys(self, num_levels: int, num_codes: int) -> int:
        """L / length runs of K ** length."""
        return num_levels // self.length * num_codes**self.length

    def keys(self, codes: Tensor, num_codes: Tensor, exact: bool) -> Tensor:
        """The run as a number to the base K, past those of the runs before it."""
        runs = codes.unflatten(-2, (-1, self.length))
        keys = runs[..., 0, :]
        for place in range(1, self.length):
            keys = _append(keys, runs[..., place, :], num_codes, exact)
        return _apart(keys, num_codes**self.length) if exact else keys


@dataclass(frozen=True)
class AllBigrams(Adaptation):
    """Every pair of neighbouring codes, each place with K ** 2 rows."""

    def needs(self, num_levels: int) -> list[int]:
        """The codes up to the pair's end."""
        if num_levels < 2:
            raise ValueError(f"AllBigrams: items need two codes or more, got {num_levels}.")
        return list(range(2, num_levels + 1))

    def num_keys(self, num_levels: int, num_codes: int) -> int:
        """L - 1 pairs of K ** 2."""
        return (num_levels - 1) * num_codes**2

    def keys(self, codes: Tensor, num_codes: Tensor, exact: bool) -> Tensor:
        """The pair as a number to the base K, past those of the pairs before it."""
        keys = _append(codes[..., :-1, :], codes[..., 1:, :], num_codes, exact)
        return _apart(keys, num_codes**2) if exact else keys


@dataclass(frozen=True)
class Prefixes(Adaptation):
    """The first code, the first two, and so on: what an item shares with ever fewer others.

    Args:
        num_prefixes: how many, at most L; None takes L.
    """

    num_prefixes: int | None = None

    def __post_init__(self) -> None:
        """Refuse no prefix."""
        check_fields(self)
        if self.num_prefixes is not None and self.num_prefixes < 1:
            raise ValueError(f"Prefixes: num_prefixes must be at least 1, got {self.num_prefixes!r}.")

    def needs(self, num_levels: int) -> list[int]:
        """The codes of the prefix."""
        number = num_levels if self.num_prefixes is None else self.num_prefixes
        if number > num_levels:
            raise ValueError(f"Prefixes: num_prefixes must be at most the number of levels {num_levels}, got {number}.")
        return list(range(1, number + 1))

    def num_keys(self, num_levels: int, num_codes: int) -> int:
        """K + K ** 2 + ..."""
        return sum(num_codes**length for length in self.needs(num_levels))

    def keys(self, codes: Tensor, num_codes: Tensor, exact: bool) -> Tensor:
        """P_1 = c_1 + 1, P_i = P_{i-1} K + c_i + 1, less 1: different for every prefix of any length."""
        prefix = codes[..., 0, :] + 1
        found = [prefix]
        for level in range(1, len(self.needs(codes.shape[-2]))):
            prefix = _append(prefix, codes[..., level, :] + 1, num_codes, exact)
            found.append(prefix)
        return torch.stack(found, dim=-2) - 1


@dataclass(frozen=True)
class Pieces(Adaptation):
    """Codes that are pieces of code sequences, as SentencePiece cuts them: a piece has one row wherever it stands."""

    def needs(self, num_levels: int) -> list[int]:
        """The pieces up to it."""
        return list(range(1, num_levels + 1))

    def num_keys(self, num_levels: int, num_codes: int) -> int:
        """The pieces."""
        return num_codes

    def keys(self, codes: Tensor, num_codes: Tensor, exact: bool) -> Tensor:
        """The pieces."""
        return codes

    def seeds(self, num_lookups: int) -> list[int]:
        """One for all."""
        return [0] * num_lookups


def _append(keys: Tensor, codes: Tensor, num_codes: Tensor, exact: bool) -> Tensor:
    """One more code. Of keys to be hashed, which may need more than 64 bits, an odd factor lets no code fall out."""
    if not exact:
        return keys * _FACTOR + codes
    base = num_codes.squeeze(-2) if num_codes.dim() == keys.dim() + 1 else num_codes
    return keys * base + codes


def _apart(keys: Tensor, num_each: Tensor) -> Tensor:
    """Keys [..., P, N] of each place past those of the places before it."""
    places = torch.arange(keys.shape[-2], device=keys.device).unsqueeze(-1)
    return keys + places * num_each
