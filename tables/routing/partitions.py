"""Complementary partitions of the ids: K small codes that together tell every id from every other.

Source: Shi et al., "Compositional embeddings using complementary partitions" (KDD 2020), arXiv:1909.02107, section 3.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from recsys.argument_types import check_fields

MAX_PARTITIONS = 64
"""Of which two codes each tell all int64 ids apart."""


def ceil_div(dividend: int, divisor: int) -> int:
    """Quotient rounded up, in integers."""
    return -(-dividend // divisor)


def ceil_root(value: int, degree: int) -> int:
    """Smallest integer r with r ** degree >= value, exactly.

    >>> ceil_root(10**18, 3), ceil_root(10**18 + 1, 3)
    (1000000, 1000001)
    """
    root = max(1, round(value ** (1 / degree)))
    while root > 1 and (root - 1) ** degree >= value:
        root -= 1
    while root**degree < value:
        root += 1
    return root


class Partition(ABC):
    """How an id becomes K codes: code_j = (id // divisor_j) mod modulus_j."""

    @abstractmethod
    def moduli(self, num_embeddings: int) -> list[int]:
        """Number of codes of each of the K partitions; their product is at least V."""

    @abstractmethod
    def divisors(self, moduli: list[int]) -> list[int]:
        """What the id is divided by before each modulus."""


def _require_partitions(owner: str, num_partitions: int) -> None:
    if not 1 <= num_partitions <= MAX_PARTITIONS:
        raise ValueError(f"{owner}: num_partitions must be in [1, {MAX_PARTITIONS}], got {num_partitions}.")


@dataclass(frozen=True)
class MixedRadix(Partition):
    """The digits of the id in a mixed radix; with two partitions, remainder and quotient.

    Args:
        num_partitions: K; equal radices of about V ** (1 / K), the smallest memory.
    """

    num_partitions: int = 2

    def __post_init__(self) -> None:
        """Refuse fewer than one partition."""
        check_fields(self)
        _require_partitions("MixedRadix", self.num_partitions)

    def moduli(self, num_embeddings: int) -> list[int]:
        """K - 1 radices of ceil(V ** (1 / K)) and the digits that remain.

        >>> MixedRadix(3).moduli(10_000)
        [22, 22, 21]
        """
        radix = ceil_root(num_embeddings, self.num_partitions)
        digits = [radix] * (self.num_partitions - 1)
        return [*digits, ceil_div(num_embeddings, radix ** (self.num_partitions - 1))]

    def divisors(self, moduli: list[int]) -> list[int]:
        """Products of the radices before each digit."""
        return [math.prod(moduli[:position]) for position in range(len(moduli))]


@dataclass(frozen=True)
class Remainders(MixedRadix):
    """Quotient and remainder by a given divisor.

    Args:
        num_remainders: rows of the remainder table, in [1, V]; the quotient table has ceil(V / num_remainders).
    """

    num_remainders: int = 1

    def moduli(self, num_embeddings: int) -> list[int]:
        """The remainders, then the quotients."""
        return [self.num_remainders, ceil_div(num_embeddings, self.num_remainders)]


@dataclass(frozen=True)
class Coprime(Partition):
    """Remainders by K pairwise coprime numbers; by the Chinese remainder theorem they identify the id.

    Args:
        num_partitions: K; the moduli are the smallest suitable ones from V ** (1 / K) upwards.
    """

    num_partitions: int = 2

    def __post_init__(self) -> None:
        """Refuse fewer than one partition."""
        check_fields(self)
        _require_partitions("Coprime", self.num_partitions)

    def moduli(self, num_embeddings: int) -> list[int]:
        """K pairwise coprime numbers, each at least V ** (1 / K).

        >>> Coprime(3).moduli(10_000)
        [22, 23, 25]
        """
        found: list[int] = []
        candidate = ceil_root(num_embeddings, self.num_partitions)
        while len(found) < self.num_partitions:
            if all(math.gcd(candidate, other) == 1 for other in found):
                found.append(candidate)
            candidate += 1
        return found

    def divisors(self, moduli: list[int]) -> list[int]:
        """Every remainder is of the id itself."""
        return [1] * len(moduli)


@dataclass(frozen=True)
class Given(Partition):
    """Moduli and divisors as they are given: what a table that has grown goes on with.

    Args:
        given_moduli: number of codes of each partition.
        given_divisors: what the id is divided by before each modulus.
    """

    given_moduli: tuple[int, ...]
    given_divisors: tuple[int, ...]

    def moduli(self, num_embeddings: int) -> list[int]:
        """As given."""
        return list(self.given_moduli)

    def divisors(self, moduli: list[int]) -> list[int]:
        """As given."""
        return list(self.given_divisors)
