"""What several tables may take together: bytes, or a fraction of full tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recsys.tables.budget import Bytes, Fraction, bytes_of_fraction, parse_bytes, parse_fraction


@dataclass(frozen=True)
class TotalBudget:
    """Bytes, a fraction of the full tables' bytes, or neither where tables have the sizes that they were given.

    Args:
        num_bytes: such as 8MB.
        fraction: such as 1%.
    """

    num_bytes: Bytes | None = None
    fraction: Fraction | None = None

    def check(self, owner: str) -> None:
        """Refuse both, or what is none.

        Raises:
            ValueError: naming the owner and the value.
        """
        if self.num_bytes is not None and self.fraction is not None:
            raise ValueError(f"{owner}: give budget_bytes or budget_fraction, not both.")
        try:
            _ = self.num_bytes is None or parse_bytes(self.num_bytes)
            _ = self.fraction is None or parse_fraction(self.fraction) > 0
        except ValueError as error:
            raise ValueError(f"{owner}: {error}") from None

    @property
    def is_given(self) -> bool:
        """Whether there is one."""
        return self.num_bytes is not None or self.fraction is not None

    def bytes_of(self, sizes: Iterable[int], embedding_dim: int) -> int:
        """The budget of features with so many ids each."""
        if self.num_bytes is not None:
            return parse_bytes(self.num_bytes)
        assert self.fraction is not None
        return bytes_of_fraction(self.fraction, 4 * embedding_dim * sum(sizes))
