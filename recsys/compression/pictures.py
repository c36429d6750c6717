"""Pictures of what is kept: rows by frequency of their ids, widths of tables, and the search for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from recsys.compression.plots import new_axes
from recsys.compression.quality import SHOWN
from recsys.human import drawn
from recsys.tables import CompactTable, FullTable, MixedDimTable, SparseTable, Table

MOST_LINES = 8
_PIECE_IDS = 1 << 18


def kept_share(table: Table) -> Tensor | None:
    """[V] the part of each id's D values that a table keeps; None where that is no question of the method."""
    if isinstance(table, FullTable):
        return torch.ones(table.num_embeddings)
    if isinstance(table, MixedDimTable):
        return torch.full((table.num_embeddings,), table.row_dim / table.embedding_dim)
    if not isinstance(table, (CompactTable, SparseTable)):
        return None
    if not table.physical_tables():
        return torch.zeros(table.num_embeddings)
    width = sum(table.row_dims)
    pieces = []
    for start in range(0, table.num_embeddings, _PIECE_IDS):
        rows = table.rows_of(torch.arange(start, min(start + _PIECE_IDS, table.num_embeddings)))
        pieces.append((rows >= 0).float().mean(0) * width / table.embedding_dim)
    return torch.cat(pieces)


def kept_figures(tables: Mapping[str, Table], counts: Mapping[str, Tensor]) -> dict[str, Figure]:
    """By caption: what is kept against frequency, and how much of each table; nothing if no method has an answer.

    Args:
        tables: compressed.
        counts: how often each id occurs in training, by table.
    """
    shares = {name: share for name, table in tables.items() if (share := kept_share(table)) is not None}
    if not shares:
        return {}
    return {
        "Values kept by frequency": kept_by_frequency(shares, counts),
        "Values kept by table": kept_by_table(shares, len(tables)),
    }


def kept_by_frequency(shares: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> Figure:
    """The part of their values that ids keep, by how often they occur; a line for each of the largest tables."""
    figure, axes = new_axes("Values kept by frequency of the id", "occurrences in training", "values kept, of D")
    largest = sorted(shares, key=lambda name: -len(shares[name]))[:MOST_LINES]
    for place, name in enumerate(largest):
        # Powers of two of the count; ids that never occur stand apart on the left.
        bins = torch.log2(counts[name].double().clamp(min=0.5)).floor().long() + 1
        sizes = bins.bincount()
        means = bins.bincount(weights=shares[name].double()) / sizes.clamp(min=1)
        shown = sizes.nonzero().squeeze(1)
        label = f"{drawn(name)}, {len(shares[name]):,} ids"
        frequency = 2.0 ** (shown.double() - 1)
        colour = colormaps["tab10"](place)
        axes.plot(frequency.tolist(), means[shown].tolist(), "o-", markersize=4, label=label, color=colour)
    axes.set_xscale("log", base=2)
    axes.set_ylim(-0.03, 1.03)
    axes.legend(frameon=False, fontsize=9)
    return figure


def kept_by_table(shares: Mapping[str, Tensor], num_tables: int) -> Figure:
    """Ids that have any row, and the width of these rows, for every table of which that can be said."""
    of_all = f", {len(shares)} of {num_tables}" if len(shares) < num_tables else ""
    figure, axes = new_axes(f"Values kept by table{of_all}", "", "part")
    names = list(shares)
    with_row = [float((shares[name] > 0).float().mean()) for name in names]
    width = [float(shares[name].sum() / (shares[name] > 0).sum().clamp(min=1)) for name in names]
    places = torch.arange(len(names))
    axes.bar((places - 0.2).tolist(), with_row, 0.4, label="ids that keep values", color="#1f5fa8")
    axes.bar((places + 0.2).tolist(), width, 0.4, label="values of these ids, of D", color="#b9cde4")
    axes.set_xticks(places.tolist(), [drawn(name) for name in names], rotation=60, ha="right", fontsize=9)
    axes.set_ylim(0, 1.2)  # room for the legend above the bars
    axes.legend(frameon=False, fontsize=10, loc="upper center", ncols=2)
    return figure


def search_figure(best: Sequence[float], metric: str) -> Figure:
    """The best value of a metric after each generation of the search for widths."""
    figure, axes = new_axes(f"{SHOWN[metric]} along the search for widths", "generation", f"best val {SHOWN[metric]}")
    axes.plot(range(len(best)), best, "o-", markersize=4, color="#1f5fa8")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
