"""Pictures of compression: quality against bytes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from recsys.compression.quality import SHOWN
from recsys.compression.trials import Trial
from recsys.human import drawn, human_bytes

_NUM_COLOURS = 10


def quality_against_bytes(trials: Sequence[Trial], trained_bytes: int, metric: str) -> Figure:
    """A line for each method, with the interval of its difference to the trained tables, which are the dashed line."""
    figure, axes = new_axes(
        f"{SHOWN[metric]} against bytes", "bytes of the tables, as served, logarithmic", SHOWN[metric]
    )
    names = list(dict.fromkeys(trial.method for trial in trials))
    for place, name in enumerate(names):
        own = sorted((trial for trial in trials if trial.method == name), key=lambda trial: trial.num_bytes)
        found = [trial.shown[metric] for trial in own]
        below = [each.difference - each.low for each in found]
        above = [each.high - each.difference for each in found]
        axes.errorbar(
            [trial.num_bytes for trial in own], [each.second for each in found], [below, above],
            fmt="o-" if place < _NUM_COLOURS else "s--", markersize=5, capsize=3, label=drawn(name),
            color=colormaps["tab10"](place % _NUM_COLOURS),
        )  # fmt: skip
    if trials:
        before = trials[0].shown[metric].first
        axes.axhline(before, color="#444444", linestyle="--", linewidth=1)
        spot, ends = (0.01, before), ("axes fraction", "data")
        axes.annotate(f"trained, {human_bytes(trained_bytes)}", spot, (0, 4), xycoords=ends, textcoords="offset points")
        axes.margins(y=0.08)
    bytes_axis(axes)
    axes.legend(frameon=False, fontsize=10)
    return figure


def bytes_axis(axes: Axes) -> None:
    """Bytes on a logarithmic axis, in decimal units."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: human_bytes(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def new_axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """An empty picture."""
    figure = Figure(figsize=(8.4, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=13)
    axes.set_xlabel(x, fontsize=12)
    axes.set_ylabel(y, fontsize=12)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
