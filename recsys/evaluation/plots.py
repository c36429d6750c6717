"""Pictures of predictions: ROC curve, reliability, AUC by slice."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from recsys.evaluation.calibration import Reliability
from recsys.evaluation.summary import Metric
from recsys.human import drawn

_COLOUR, _GUIDE = "#1f5fa8", "#999999"
_MOST_LETTERS = 40


def roc_curve(points: NDArray[np.float64], area: float) -> Figure:
    """True against false positive rate, from points [P, 2]."""
    figure, axes = _square("ROC curve", "false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], "--", color=_GUIDE, linewidth=1)
    axes.plot(points[:, 0], points[:, 1], color=_COLOUR, linewidth=2, label=f"AUC {area:.4f}")
    axes.legend(loc="lower right", frameon=False, fontsize=12)
    return figure


def reliability_curve(bins: Reliability) -> Figure:
    """Observed against predicted rate of every bin, on logarithmic axes where rates are small."""
    figure, axes = _square("Reliability", "mean predicted probability", "observed rate of label 1")
    seen = bins.observed[bins.observed > 0]
    known = np.concatenate([bins.predicted[bins.predicted > 0], seen])
    low, high = float(known.min()), float(known.max())
    axes.plot([low, high], [low, high], "--", color=_GUIDE, linewidth=1, label="perfect")
    axes.plot(
        bins.predicted, bins.observed, "o-", color=_COLOUR, linewidth=1.5, markersize=5, label="bins of equal count"
    )
    if high / low > 30:
        axes.set(xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
    axes.legend(loc="upper left", frameon=False, fontsize=11)
    return figure


def slice_bars(metrics: Sequence[Metric], cut: str, name: str = "auc") -> Figure:
    """One metric of every slice of a cut, with its interval; the dashed line is that of all rows."""
    chosen = [metric for metric in metrics if metric.cut == cut and metric.name == name and np.isfinite(metric.value)]
    figure = Figure(figsize=(6.4, 1.4 + 0.36 * max(1, len(chosen))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, metric in enumerate(chosen):
        axes.plot([metric.low, metric.high], [place, place], color=_COLOUR, linewidth=2)
        axes.plot(metric.value, place, "o", color=_COLOUR, markersize=6)
    overall = [metric.value for metric in metrics if metric.cut == "all" and metric.name == name]
    for value in overall:
        axes.axvline(value, linestyle="--", color=_GUIDE, linewidth=1)
    labels = [drawn(f"{_short(metric.part)} ({metric.num_rows:,} rows)") for metric in chosen]
    axes.set_yticks(range(len(chosen)), labels, fontsize=11)
    axes.set_ylim(len(chosen) - 0.4, -0.6)
    axes.set_xlabel(f"{name} (dashed: all rows)", fontsize=12)
    axes.set_title(drawn(f"{name} by {_short(cut)}"), fontsize=13)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def svg(figure: Figure) -> str:
    """The figure as an SVG element to put into a page."""
    stream = io.StringIO()
    # Letters stay text, for which a browser has more fonts than matplotlib, and needs not warn of those it lacks.
    with rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(stream, format="svg")
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _short(words: str) -> str:
    """Words that leave room for the picture."""
    return words if len(words) <= _MOST_LETTERS else f"{words[: _MOST_LETTERS - 1]}…"


def _square(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=13)
    axes.set_xlabel(x, fontsize=12)
    axes.set_ylabel(y, fontsize=12)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
