"""Tables and pictures of a comparison: Markdown, Parquet, PNG and a page that opens without a network."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, select_autoescape
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from recsys.comparison.pareto import pareto_front
from recsys.comparison.results import Summary
from recsys.evaluation.plots import svg
from recsys.human import human_bytes


@dataclass(frozen=True)
class ComparisonReport:
    """Everything to show of a comparison.

    Args:
        name: title.
        metric: compared.
        mode: "max" or "min".
        summaries: by contender.
        failed: last lines of errors, by run.
        missing: runs not done.
    """

    name: str
    metric: str
    mode: str
    summaries: Sequence[Summary]
    failed: Mapping[str, str]
    missing: Sequence[str]

    def front(self) -> list[int]:
        """Positions of the contenders that none beats in bytes and quality."""
        sign = 1 if self.mode == "max" else -1
        return pareto_front([s.table_bytes for s in self.summaries], [sign * s.test for s in self.summaries])

    def header(self) -> list[str]:
        """Headings of the table."""
        published = ["published"] if any(s.published is not None for s in self.summaries) else []
        tail = ["val", "seeds", "table bytes", "with optimizer state", "samples/s", "peak memory"]
        return ["contender", f"test {self.metric}", *published, *tail]

    def cells(self) -> list[list[str]]:
        """Rows of the table; contenders on the Pareto front are marked with a star."""
        front = set(self.front())
        with_published = "published" in self.header()
        return [_cells(summary, place in front, with_published) for place, summary in enumerate(self.summaries)]

    def markdown(self) -> str:
        """The table and what it lacks."""
        rows = [self.header(), ["--", *["--:"] * (len(self.header()) - 1)], *self.cells()]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines += ["", "\\* on the Pareto front of test quality against table bytes. +- is the deviation over seeds."]
        sources = {s.source for s in self.summaries if s.source}
        lines += [f"Published: {'; '.join(sorted(sources))}."] if sources else []
        lines += [f"Failed: {run}: {error}" for run, error in self.failed.items()]
        lines += [f"Not run: {', '.join(self.missing)}."] if self.missing else []
        return "\n".join(lines) + "\n"

    def figure(self) -> Figure:
        """Quality against bytes, with the front."""
        return _scatter(self.summaries, self.front(), self.metric)

    def write(self, folder: Path) -> None:
        """Write table.md, summaries.parquet, pareto.png and report.html."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table.md").write_text(self.markdown())
        pq.write_table(pa.Table.from_pylist([asdict(s) for s in self.summaries]), folder / "summaries.parquet")
        figure = self.figure()
        figure.savefig(folder / "pareto.png", dpi=150)
        environment = Environment(loader=PackageLoader("recsys.comparison"), autoescape=select_autoescape())
        page = environment.get_template("report.html.jinja").render(report=self, picture=svg(figure))
        (folder / "report.html").write_text(page, encoding="utf-8")

    def update(self, page: Path) -> None:
        """Put the table between the page's marks `<!-- comparison: NAME -->` and `<!-- end -->`.

        Raises:
            ValueError: if the page does not have them once each.
        """
        text = page.read_text() if page.is_file() else ""
        mark = f"<!-- comparison: {self.name} -->"
        pattern = re.compile(rf"({re.escape(mark)}\n).*?(<!-- end -->)", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"{page}: needs one line '{mark}' and, after it, one '<!-- end -->'.")
        page.write_text(pattern.sub(lambda match: f"{match[1]}\n{self.markdown()}\n{match[2]}", text))


def _cells(summary: Summary, on_front: bool, with_published: bool) -> list[str]:
    spread = "" if math.isnan(summary.spread) else f" +- {summary.spread:.4f}"
    published = ["" if summary.published is None else f"{summary.published:.4f}"] if with_published else []
    speed = "" if math.isnan(summary.samples_per_second) else f"{summary.samples_per_second:,.0f}"
    return [
        summary.contender + (" \\*" if on_front else ""),
        f"{summary.test:.4f}{spread}",
        *published,
        f"{summary.val:.4f}",
        str(summary.num_seeds),
        f"{summary.table_bytes:,}",
        f"{summary.training_bytes:,}",
        speed,
        human_bytes(summary.peak_memory_bytes),
    ]


def _scatter(summaries: Sequence[Summary], front: Sequence[int], metric: str) -> Figure:
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(
        [summaries[place].table_bytes for place in front],
        [summaries[place].test for place in front],
        color="#1f5fa8", linewidth=1.5, alpha=0.6, label="Pareto front", zorder=1,
    )  # fmt: skip
    for place, summary in enumerate(summaries):
        colour = "#1f5fa8" if place in front else "#888888"
        deviation = 0.0 if math.isnan(summary.spread) else summary.spread
        axes.errorbar(summary.table_bytes, summary.test, deviation, fmt="o", color=colour, capsize=3, markersize=6)
    # Neighbours in quality are named on opposite sides, so that names of equal bytes do not cover each other.
    for order, summary in enumerate(sorted(summaries, key=lambda summary: summary.test)):
        side, alignment = ((8, 4), "left") if order % 2 else ((-8, 4), "right")
        spot = (summary.table_bytes, summary.test)
        axes.annotate(summary.contender, spot, side, textcoords="offset points", fontsize=9, ha=alignment)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: human_bytes(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.25, y=0.12)
    axes.set_xlabel("bytes of the tables", fontsize=12)
    axes.set_ylabel(f"test {metric}", fontsize=12)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right", fontsize=11)
    return figure
