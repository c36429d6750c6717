"""Pictures of codes: how often each is used, level by level, and how many items stand alone."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from recsys.prepare.semantic.codes import Codes
from recsys.prepare.semantic.measures import CodesUse

_COLOURS = [colormaps["tab10"](place) for place in range(10)]


def figures(codes: Codes, use: CodesUse) -> dict[str, Figure]:
    """All pictures by caption."""
    return {
        "Use of codes": use_of_codes(codes),
        "Perplexity and used codes": perplexity(use),
        "Items alone": items_alone(use),
    }


def use_of_codes(codes: Codes) -> Figure:
    """Items of each code, the most used first; a flat line uses all alike, a line that ends early leaves codes dead."""
    figure, axes = _axes("Items of each code")
    for level in range(codes.num_levels):
        own = codes.values[:, level][codes.values[:, level] >= 0]
        counts = np.sort(np.bincount(own, minlength=codes.num_codes))[::-1]
        used = counts[counts > 0]
        axes.plot(np.arange(1, len(used) + 1), used, color=_COLOURS[level % 10], label=f"level {level}")
    axes.set_xlim(0, codes.num_codes + 1)
    axes.set_yscale("log")
    axes.set_xlabel(f"code, by items, of {codes.num_codes:,}", fontsize=12)
    axes.set_ylabel("items", fontsize=12)
    axes.legend(frameon=False, fontsize=10)
    return figure


def perplexity(use: CodesUse) -> Figure:
    """Used codes and, darker, their perplexity, of each level."""
    figure, axes = _axes("Codes used, and perplexity")
    places = np.arange(len(use.levels))
    axes.bar(places, [level.used for level in use.levels], color="#b9cde4", label="used")
    axes.bar(places, [level.perplexity for level in use.levels], width=0.5, color="#1f5fa8", label="perplexity")
    axes.axhline(use.num_codes, color="#999999", linestyle="--", linewidth=1, label="codes")
    _levels(axes, use)
    axes.set_ylabel("codes", fontsize=12)
    axes.set_ylim(0, 1.3 * use.num_codes)  # room for the legend above the bars
    axes.legend(frameon=False, fontsize=10, loc="upper center", ncols=3)
    return figure


def items_alone(use: CodesUse) -> Figure:
    """Share of items that no other item shares the codes up to a level with."""
    figure, axes = _axes("Items alone under their prefix")
    axes.bar(np.arange(len(use.levels)), [level.alone_fraction for level in use.levels], color="#1f5fa8")
    axes.set_ylim(0, 1)
    _levels(axes, use)
    axes.set_ylabel("share of items", fontsize=12)
    return figure


def _levels(axes: Axes, use: CodesUse) -> None:
    axes.set_xticks(range(len(use.levels)), [f"level {level.level}" for level in use.levels])


def _axes(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=13)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
