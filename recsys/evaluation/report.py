"""A report of predictions: on the terminal, as JSON and Parquet, and as a page that opens without a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure
from rich.table import Table

from recsys.evaluation.intervals import Comparison
from recsys.evaluation.plots import svg
from recsys.evaluation.summary import Metric
from recsys.human import as_json, console, plain
from recsys.prepare.files.whole_files import whole_files


@dataclass(frozen=True)
class Report:
    """Everything that was found.

    Args:
        title: what was evaluated.
        metrics: every number.
        comparison: of two models, by metric; empty for one.
        notes: what a reader must know of the rows.
        figures: pictures by caption.
    """

    title: str
    metrics: Sequence[Metric]
    comparison: Mapping[str, Comparison] = field(default_factory=dict)
    notes: Sequence[str] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def cuts(self) -> dict[str, dict[str, dict[str, Metric]]]:
        """Metrics by cut, slice and name."""
        found: dict[str, dict[str, dict[str, Metric]]] = {}
        for metric in self.metrics:
            found.setdefault(metric.cut, {}).setdefault(metric.part, {})[metric.name] = metric
        return found

    def print(self) -> None:
        """Show the tables on the terminal."""
        screen = console(width=150)
        screen.print(self.title, soft_wrap=True)
        for table in _tables(self):
            screen.print(table)
        for note in self.notes:
            screen.print(note)

    def write(self, folder: Path) -> None:
        """Write metrics.json, metrics.parquet and report.html."""
        with whole_files(folder) as place:
            (place / "metrics.json").write_text(as_json(self.as_json()))
            pq.write_table(pa.Table.from_pylist([asdict(metric) for metric in self.metrics]), place / "metrics.parquet")
            (place / "report.html").write_text(self.html(), encoding="utf-8")

    def as_json(self) -> dict[str, object]:
        """Plain values; a number that the rows do not define is null, an infinite one a word."""
        metrics = [plain(asdict(metric)) for metric in self.metrics]
        comparison = {name: plain(asdict(found)) for name, found in self.comparison.items()}
        return {"title": self.title, "notes": list(self.notes), "metrics": metrics, "comparison": comparison}

    def html(self) -> str:
        """One page with everything in it."""
        environment = Environment(loader=PackageLoader("recsys.evaluation"), autoescape=True)
        environment.filters.update(number=number, p_value=p_value, bounds=bounds)
        pictures = {caption: svg(figure) for caption, figure in self.figures.items()}
        return environment.get_template("report.html.jinja").render(report=self, pictures=pictures)


def number(value: float) -> str:
    """Four decimals; a dash where there is no value."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def _tables(report: Report) -> list[Table]:
    cuts = report.cuts()
    overall = Table()
    for heading in ("metric", "value", "interval", "computed of"):
        overall.add_column(heading, justify="left" if heading == "metric" else "right")
    for metric in cuts.pop("all")["all"].values():
        overall.add_row(metric.name, number(metric.value), bounds(metric), f"{metric.num_rows:,}")
    return [overall, *(_slice_table(cut, parts) for cut, parts in cuts.items()), *_comparison_table(report.comparison)]


def _slice_table(cut: str, parts: Mapping[str, Mapping[str, Metric]]) -> Table:
    names = list(next(iter(parts.values())))
    view = Table(title=f"by {cut}", title_justify="left")
    view.add_column(cut)
    for heading in ("rows", *names):
        view.add_column(heading, justify="right")
    for part, metrics in parts.items():
        cells = [f"{number(each.value)} {bounds(each)}".strip() for each in metrics.values()]
        view.add_row(part, f"{next(iter(metrics.values())).num_rows:,}", *cells)
    return view


def _comparison_table(comparison: Mapping[str, Comparison]) -> list[Table]:
    if not comparison:
        return []
    view = Table(title="second minus first", title_justify="left")
    for heading in ("metric", "first", "second", "difference", "interval", "p"):
        view.add_column(heading, justify="left" if heading == "metric" else "right")
    for name, found in comparison.items():
        values = number(found.first), number(found.second), f"{found.difference:+.5f}"
        view.add_row(name, *values, bounds(found, "+.5f"), p_value(found.p_value))
    return [view]


def p_value(value: float) -> str:
    """A p-value, without false precision; a dash where there is none."""
    if math.isnan(value):
        return "-"
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def bounds(found: Metric | Comparison, form: str = ".4f") -> str:
    """An interval; nothing where there is none."""
    return "" if math.isnan(found.low) else f"[{found.low:{form}}, {found.high:{form}}]"
