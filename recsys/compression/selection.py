"""What a searched model keeps within a budget, as tables that have nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from recsys.compression.allocation import Choice, allocate
from recsys.compression.entries import sparse_bytes, sparse_table
from recsys.compression.thresholds import lowest_threshold
from recsys.compression.trained import Compressed
from recsys.tables import AutoDimTable, CompactTable, SearchedTable, Table, TableCollection
from recsys.tables.budget import BudgetError
from recsys.tables.compact import RowPrecision
from recsys.tables.compact import row_bytes as stored_row_bytes
from recsys.tables.mixed_dim import mixed_dim_bytes
from recsys.tables.routing.ranks import WORD_BITS, pack_bits
from recsys.tables.sizing import stored_bytes

WIDTH_STEP = 4
"""Columns of float32 that kernels read without padding."""


@dataclass(frozen=True)
class Searched:
    """The tables of a model after a search.

    Args:
        rows: scores [V] of the tables that select whole rows, by table.
        entries: scores [V, D] of those that select single values.
        narrow: those that select the width of all their rows.
        others: tables that search nothing, and stay as they are.
        precision: that rows are served in.
    """

    rows: Mapping[str, Tensor]
    entries: Mapping[str, Tensor]
    narrow: Mapping[str, AutoDimTable]
    others: Mapping[str, Table]
    precision: RowPrecision = "float32"

    @cached_property
    def sorted_rows(self) -> dict[str, Tensor]:
        """Scores of rows in ascending order, those not above 0 as 0: what is kept is counted without looking at all."""
        return {name: own.clamp(min=0).sort().values for name, own in self.rows.items()}

    @classmethod
    @torch.no_grad()
    def of(cls, collection: TableCollection, precision: RowPrecision = "float32") -> Searched:
        """Scores of all tables of a collection.

        Args:
            collection: searched.
            precision: that the rows that are kept are served in.

        Raises:
            ValueError: if none of them searches, or they select what cannot be weighed against each other.
        """
        tables = {name: collection.table(name) for name in dict.fromkeys(f.table for f in collection.features)}
        searched = {name: table for name, table in tables.items() if isinstance(table, SearchedTable)}
        if not searched:
            kinds = ", ".join(sorted({type(table).__name__ for table in tables.values()}))
            raise ValueError(
                f"no table of the config searches ({kinds}); add -c configs/tables/optembed.yaml or pep.yaml, or give "
                "a checkpoint."
            )
        require_one_currency(searched.values())
        scores = {name: _scores(collection, table) for name, table in searched.items()}
        return cls(
            rows={name: own for name, own in scores.items() if searched[name].selects == "rows"},
            entries={name: own for name, own in scores.items() if searched[name].selects == "values"},
            narrow={name: table for name, table in searched.items() if isinstance(table, AutoDimTable)},
            others={name: table for name, table in tables.items() if name not in searched},
            precision=precision,
        )

    def most_probable_widths(self, budget_bytes: int) -> dict[str, int] | None:
        """The widths of `narrow` that have the highest probability together and fit; None if the smallest do not."""
        choices = {
            name: [
                Choice(mixed_dim_bytes([table.num_embeddings], [width], table.embedding_dim), -value)
                for width, value in zip(table.widths, table.scores(torch.empty(0)).tolist(), strict=True)
            ]
            for name, table in self.narrow.items()
        }
        chosen = allocate(choices, budget_bytes - stored_bytes(self.others))
        return None if chosen is None else {name: table.widths[chosen[name]] for name, table in self.narrow.items()}

    def offset(self, widths: Mapping[str, int], embedding_dim: int, budget_bytes: int) -> float | None:
        """The least that may be taken off all scores so that what stays above 0 fits; None if nothing does.

        Args:
            widths: columns that rows have, by table that selects rows.
            embedding_dim: D.
            budget_bytes: of all tables together.
        """
        left = budget_bytes - stored_bytes(self.others)
        highest = [own[-1:] for own in self.sorted_rows.values()] + [own.max().view(1) for own in self.entries.values()]

        def count_bytes(threshold: float) -> int:
            total = sum(sparse_bytes(own > threshold) for own in self.entries.values())
            for name, own in self.sorted_rows.items():
                num_kept = len(own) - int(torch.searchsorted(own, torch.tensor(threshold), right=True))
                total += row_bytes(num_kept, len(own), widths[name], embedding_dim, self.precision)
            return total

        return lowest_threshold(highest, count_bytes, left)


def require_possible(tables: Iterable[Table], embedding_dim: int, budget_bytes: int) -> None:
    """Refuse a budget that not even tables which keep nothing fit, or the narrowest; those that do not search stay.

    Args:
        tables: of a model.
        embedding_dim: D.
        budget_bytes: of all of them.

    Raises:
        BudgetError: naming the smallest.
    """
    smallest, others = 0, {}
    for table in tables:
        if isinstance(table, AutoDimTable):
            smallest += min(mixed_dim_bytes([table.num_embeddings], [width], embedding_dim) for width in table.widths)
        elif isinstance(table, SearchedTable):
            smallest += 4 * embedding_dim
        else:
            others[table.name] = table
    smallest += stored_bytes(others)
    if budget_bytes < smallest:
        raise BudgetError(
            f"budget_bytes={budget_bytes} cannot be met; the smallest budget that can is {smallest} bytes.", smallest
        )


def require_one_currency(tables: Iterable[SearchedTable]) -> None:
    """Refuse a model some of whose tables search for widths by probability, and others by scores for rows or values.

    Raises:
        ValueError: naming a table of each kind.
    """
    first: dict[bool, SearchedTable] = {}
    for table in tables:
        first.setdefault(table.selects == "widths", table)
    if len(first) > 1:
        wide, other = first[True], first[False]
        raise ValueError(
            f"{type(wide).__name__} '{wide.name}' selects widths and {type(other).__name__} '{other.name}' "
            f"{other.selects}, which cannot share one budget; give all tables one of the two methods."
        )


def _scores(collection: TableCollection, table: SearchedTable) -> Tensor:
    """What a table has learned, from its matrices side by side."""
    matrices = [collection.lookup.weight(each.name).detach() for each in table.physical_tables()]
    return table.scores(matrices[0] if len(matrices) == 1 else torch.cat(matrices, 1)).float().cpu()


def row_bytes(
    num_kept: int, num_embeddings: int, width: int, embedding_dim: int, precision: RowPrecision = "float32"
) -> int:
    """The most bytes that a CompactTable with so many rows in so many columns takes."""
    bits = 0 if num_kept in (0, num_embeddings) else 12 * -(-num_embeddings // WORD_BITS)
    return stored_row_bytes(num_kept, width, embedding_dim, precision) + bits


@torch.no_grad()
def selected_rows(name: str, initial: Tensor, kept: Tensor, width: int) -> Compressed:
    """A table with the rows that are kept, in their first columns.

    Args:
        name: of the table.
        initial: [V, D] rows as they began.
        kept: [V] flags.
        width: columns of a row.
    """
    num_kept, columns = int(kept.sum()), None if width == initial.shape[1] else list(range(width))
    if bool(kept[:num_kept].all()):
        table = CompactTable(name, *initial.shape, num_rows=num_kept, columns=columns)
    else:
        table = CompactTable(name, *initial.shape, kept=pack_bits(kept), columns=columns)
    return table, {name: initial[kept, :width].contiguous()} if table.physical_tables() else {}


@torch.no_grad()
def selected_entries(name: str, initial: Tensor, kept: Tensor) -> Compressed:
    """A table with the values that are kept.

    Args:
        name: of the table.
        initial: [V, D] rows as they began.
        kept: [V, D] flags.
    """
    table = sparse_table(name, kept)
    return table, {name: initial[kept].unsqueeze(1)} if table.physical_tables() else {}


def widths_of(embedding_dim: int, multiple_of: int = WIDTH_STEP) -> Sequence[int]:
    """Widths that a row may be given: whole multiples, and D."""
    return [*range(multiple_of, embedding_dim, multiple_of), embedding_dim]
