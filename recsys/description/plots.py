"""Pictures of tables: bytes, norms by frequency, singular values."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from recsys.description.portrait import TablePortrait
from recsys.human import drawn, human_bytes

MAX_LINES = 8
_COLOURS = [colormaps["tab10"](place) for place in range(MAX_LINES)]


def figures(portraits: Sequence[TablePortrait]) -> dict[str, Figure]:
    """All pictures by caption; curves are drawn for the eight largest tables."""
    largest = sorted(portraits, key=lambda portrait: -portrait.num_embeddings)[:MAX_LINES]
    found = {"Bytes of the tables": bytes_bars(portraits), "Singular values": spectrum(largest)}
    if any(portrait.norms for portrait in largest):
        found["Norms by frequency"] = norms_by_frequency(largest)
    return found


def bytes_bars(portraits: Sequence[TablePortrait]) -> Figure:
    """Bytes while serving and, paler, while training, the largest first."""
    ordered = sorted(portraits, key=lambda portrait: -portrait.training_bytes)[:40]
    figure, axes = _axes("Bytes of the tables", (7.2, 1.3 + 0.24 * len(ordered)))
    places = range(len(ordered))
    axes.barh(places, [p.training_bytes for p in ordered], color="#b9cde4", label="training")
    axes.barh(places, [p.serving_bytes for p in ordered], color="#1f5fa8", label="serving")
    axes.set_yticks(places, [drawn(f"{p.name} ({p.method})") for p in ordered], fontsize=9)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: human_bytes(value)))
    axes.set_xlabel("bytes, logarithmic", fontsize=12)
    axes.legend(frameon=False, fontsize=10, loc="lower right")
    return figure


def spectrum(portraits: Sequence[TablePortrait]) -> Figure:
    """Singular values over their sum; a flat line uses all dimensions, a steep one few."""
    figure, axes = _axes("Singular values of the vectors", (7.2, 4.6))
    for portrait, colour in zip(portraits, _COLOURS, strict=False):
        values = [value for value in portrait.singular_values if value > 0]
        label = f"{drawn(portrait.name)}, rank {portrait.effective_rank:.1f} of {portrait.embedding_dim}"
        axes.plot(range(1, len(values) + 1), values, "o-", markersize=3, color=colour, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("singular value", fontsize=12)
    axes.set_ylabel("share of their sum", fontsize=12)
    axes.legend(frameon=False, fontsize=9)
    return figure


def norms_by_frequency(portraits: Sequence[TablePortrait]) -> Figure:
    """Median norm of the vectors by how often their ids occur, with the quartiles."""
    figure, axes = _axes("Norms of the vectors by frequency of the id", (7.2, 4.6))
    for portrait, colour in zip(portraits, _COLOURS, strict=False):
        bins = [each for each in portrait.norms if each.frequency > 0]
        if not bins:
            continue
        frequency = [each.frequency for each in bins]
        axes.plot(frequency, [b.median for b in bins], "o-", markersize=4, color=colour, label=drawn(portrait.name))
        axes.fill_between(frequency, [b.low for b in bins], [b.high for b in bins], color=colour, alpha=0.12)
    axes.set_xscale("log")
    axes.set_xlabel("occurrences in training", fontsize=12)
    axes.set_ylabel("median norm (band: quartiles)", fontsize=12)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _axes(title: str, size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=13)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
