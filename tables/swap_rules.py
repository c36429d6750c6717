"""What `swap_` is asked for, and what it says that it has done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import nn

from recsys.argument_types import check_fields
from recsys.tables.base import Table

TableFactory = Callable[..., Table]
"""Called with (name, num_embeddings, embedding_dim), and with init_std where it takes one."""


@dataclass(frozen=True)
class SwapRule:
    """Which embeddings of a model become which table.

    Args:
        table: a table class, or a partial of one, as `partial(HashTable, budget_fraction=0.1)`.
        pattern: of the module's path in the model, with * ? [ ].
        min_embeddings: smaller ones stay.
        max_embeddings: larger ones stay; None is no limit.
        kinds: exact types; a subclass may do what a table does not.
        subclasses: take subclasses of the kinds too.
        fit: start from the vectors that are there, as close as the table comes; otherwise fresh rows whose vectors have
            the deviation of those that are there, which suits a model that has not been trained.
    """

    table: TableFactory
    pattern: str = "*"
    min_embeddings: int = 0
    max_embeddings: int | None = None
    kinds: tuple[type[nn.Module], ...] = (nn.Embedding, nn.EmbeddingBag)
    subclasses: bool = False
    fit: bool = True

    def __post_init__(self) -> None:
        """Refuse a table that is made already, whose sizes would not be those of the module, and no range."""
        made = isinstance(self.table, Table) or not callable(self.table)
        if made or (isinstance(self.table, type) and not issubclass(self.table, Table)):
            raise TypeError(
                "SwapRule: table must be a class, as QRTable, or a partial of one, as partial(HashTable, "
                f"budget_fraction=0.1), got {self.table!r}."
            )
        check_fields(self)
        if self.min_embeddings < 0 or (self.max_embeddings is not None and self.max_embeddings < self.min_embeddings):
            raise ValueError(
                "SwapRule: min_embeddings must be at least 0 and at most max_embeddings, got "
                f"{self.min_embeddings} and {self.max_embeddings}."
            )

    def matches(self, path: str, module: nn.Module) -> bool:
        """Whether a module is meant."""
        is_kind = isinstance(module, self.kinds) if self.subclasses else type(module) in self.kinds
        if not is_kind or not isinstance(module, nn.Embedding | nn.EmbeddingBag):
            return False
        size = module.num_embeddings
        fits = self.min_embeddings <= size and (self.max_embeddings is None or size <= self.max_embeddings)
        return fits and fnmatchcase(path, self.pattern)


@dataclass(frozen=True)
class Swapped:
    """One module that was replaced.

    Args:
        paths: where it stands in the model.
        table: its class and sizes.
        bytes_before: of the matrix.
        bytes_after: of the rows, shared ones counted where they are first, and of what the table keeps besides.
        fit_error: |vectors before - after| / |before|; None where rows are fresh.
        shares: what stands before it in the report and has the same rows; empty if nothing has.
    """

    paths: tuple[str, ...]
    table: str
    bytes_before: int
    bytes_after: int
    fit_error: float | None
    shares: str = ""


@dataclass(frozen=True)
class SwapReport:
    """What was replaced, and what held the old parameters and was given the new ones."""

    swapped: list[Swapped]
    rewired: list[str] = field(default_factory=list)
    dry_run: bool = False

    @property
    def bytes_before(self) -> int:
        """Of all that was replaced."""
        return sum(each.bytes_before for each in self.swapped)

    @property
    def bytes_after(self) -> int:
        """Of what stands there now."""
        return sum(each.bytes_after for each in self.swapped)

    def __str__(self) -> str:
        """A line for each module, and for what was rewired."""
        lines = [
            f"{', '.join(each.paths)}: {each.table}, {each.bytes_before:,} -> {each.bytes_after:,} bytes"
            + (f", rows shared with {each.shares}" if each.shares else "")
            + ("" if each.fit_error is None else f", fit error {each.fit_error:.3f}")
            for each in self.swapped
        ]
        verb = "would be rewired" if self.dry_run else "rewired"
        total = f"all: {self.bytes_before:,} -> {self.bytes_after:,} bytes"
        return "\n".join([*lines, *(f"{verb}: {each}" for each in self.rewired), total])
