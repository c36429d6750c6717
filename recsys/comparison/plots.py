"""The picture of a comparison: quality against bytes, the Pareto front, and a name at every point."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from recsys.comparison.results import Summary
from recsys.human import drawn, human_bytes

_FRONT, _OTHERS = "#1f5fa8", "#888888"
_MARKER_PIXELS = 6.0
_FAR_POINTS = 14  # from here on, a line leads from a name to its point
# Where a name may stand, in points from its point, nearest first; alignment follows from the side.
_OFFSETS = [(x, y) for reach in range(1, 13) for y in (4, -12, 4 + 11 * reach, -12 - 11 * reach) for x in (8, -8, 0)]


def scatter(summaries: Sequence[Summary], front: Sequence[int], metric: str) -> Figure:
    """Mean test quality of every contender, with its deviation over seeds, against the bytes of its tables.

    The front is drawn in steps: between two contenders on it, the smaller one is the best that fits. Contenders
    without a finite quality are left out.
    """
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(
        [summaries[place].table_bytes for place in front],
        [summaries[place].test for place in front],
        color=_FRONT, linewidth=1.5, alpha=0.6, label="Pareto front", zorder=1, drawstyle="steps-post",
    )  # fmt: skip
    shown = [place for place, summary in enumerate(summaries) if math.isfinite(summary.test)]
    for place in shown:
        summary, colour = summaries[place], _FRONT if place in front else _OTHERS
        deviation = 0.0 if math.isnan(summary.spread) else summary.spread
        axes.errorbar(summary.table_bytes, summary.test, deviation, fmt="o", color=colour, capsize=3, markersize=6)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: human_bytes(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(y=0.15)
    axes.set_xlabel("bytes of the tables", fontsize=12)
    axes.set_ylabel(drawn(f"test {metric}"), fontsize=12)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right", fontsize=11)
    _name(figure, axes, [summaries[place] for place in shown])
    return figure


def _name(figure: Figure, axes: Axes, summaries: Sequence[Summary]) -> None:
    """Write every name at the nearest spot within the axes that covers no other name, no point and not the legend."""
    if not summaries:
        return
    labels = [_label(axes, summary) for summary in summaries]
    figure.draw_without_rendering()  # fixes the layout that pixels refer to
    inside = axes.get_window_extent()
    _make_room(
        axes, [summary.table_bytes for summary in summaries], max(label.get_window_extent().width for label in labels)
    )
    taken = [_marker(axes, summary) for summary in summaries]
    legend = axes.get_legend()
    if legend is not None:
        taken.append(legend.get_window_extent())
    for place in sorted(range(len(labels)), key=lambda place: (-summaries[place].test, summaries[place].table_bytes)):
        label = labels[place]
        for offset in _OFFSETS:
            _move(label, offset)
            box = label.get_window_extent().padded(1.0)
            if not any(box.overlaps(other) for other in taken) and _holds(inside, box):
                break
        else:
            _move(label, _OFFSETS[0])
        taken.append(label.get_window_extent())
        if abs(label.get_position()[1]) > _FAR_POINTS:
            _lead(axes, label)


def _make_room(axes: Axes, num_bytes: Sequence[int], name_pixels: float) -> None:
    """Axis limits that leave the widest name room at the right of the largest table."""
    low, high = math.log10(min(num_bytes)), math.log10(max(num_bytes))
    left, right = 0.08, min(0.5, (name_pixels + 25) / axes.get_window_extent().width)
    whole = max(high - low, 0.3) / (1 - left - right)
    axes.set_xlim(10 ** (low - left * whole), 10 ** (high + right * whole))


def _marker(axes: Axes, summary: Summary) -> Bbox:
    """The pixels of a point and its deviation."""
    deviation = 0.0 if math.isnan(summary.spread) else summary.spread
    x, low = axes.transData.transform((summary.table_bytes, summary.test - deviation))
    _, high = axes.transData.transform((summary.table_bytes, summary.test + deviation))
    reach = _MARKER_PIXELS
    return Bbox.from_extents(x - reach, low - reach, x + reach, high + reach)


def _label(axes: Axes, summary: Summary) -> Annotation:
    spot = (summary.table_bytes, summary.test)
    label = axes.annotate(drawn(summary.contender), spot, (0, 0), textcoords="offset points", fontsize=9)
    label.set_in_layout(False)
    return label


def _move(label: Annotation, offset: tuple[int, int]) -> None:
    label.set_position(offset)
    label.set_horizontalalignment("left" if offset[0] > 0 else "right" if offset[0] < 0 else "center")


def _lead(axes: Axes, label: Annotation) -> None:
    """A line from a name to its point."""
    line = {"arrowstyle": "-", "color": _OTHERS, "linewidth": 0.6, "shrinkA": 0.0, "shrinkB": 4.0}
    axes.annotate("", label.xy, label.get_position(), textcoords="offset points", arrowprops=line).set_in_layout(False)


def _holds(outer: Bbox, inner: Bbox) -> bool:
    return outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1
