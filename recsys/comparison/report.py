"""Tables and pictures of a comparison: Markdown, Parquet, PNG and a page that opens without a network."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure

from recsys.comparison.pareto import pareto_front
from recsys.comparison.plots import scatter
from recsys.comparison.results import Summary
from recsys.comparison.spec import Found, NearBest
from recsys.evaluation.plots import svg
from recsys.human import human_bytes
from recsys.prepare.files.whole_files import whole_files, write_whole_text

_MOST_NAMED = 6
"""Of the runs that are missing."""
_TAIL = ("val", "seeds", "table bytes", "with optimizer state", "peak memory")


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
        runs: a row for every single run, as `run_rows` gives them.
        found: settings of a search, by contender; empty where the comparison file's own are shown.
        left_out: why, by contender that the comparison file leaves out.
        near_best: which contenders took further seeds.
    """

    name: str
    metric: str
    mode: str
    summaries: Sequence[Summary]
    failed: Mapping[str, str]
    missing: Sequence[str]
    runs: Sequence[Mapping[str, Any]] = ()
    found: Mapping[str, Found] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    near_best: NearBest | None = None

    def front(self) -> list[int]:
        """Positions of the contenders that none beats in bytes and quality."""
        sign = 1 if self.mode == "max" else -1
        return pareto_front([s.table_bytes for s in self.summaries], [sign * s.test for s in self.summaries])

    def header(self) -> list[str]:
        """Headings of the table."""
        return ["contender", f"test {self.metric}", *self._optional(), *_TAIL]

    def _optional(self) -> list[str]:
        """Columns that only some comparisons have."""
        has_loss = self.metric != "log_loss" and any(math.isfinite(s.log_loss) for s in self.summaries)
        published = any(s.published is not None for s in self.summaries)
        return ["log loss"] * has_loss + ["published"] * published

    def cells(self, star: str = "") -> list[list[str]]:
        """Rows of the table; the names of contenders on the Pareto front end with the star."""
        front = set(self.front())
        rows = [_cells(summary, self._optional()) for summary in self.summaries]
        return [[name + star * (place in front), *others] for place, (name, *others) in enumerate(rows)]

    def settings(self) -> dict[str, str]:
        """What a search found, in words, by contender."""
        return {name: _words(found, self.metric) for name, found in self.found.items()}

    def further_seeds(self) -> str:
        """Which contenders have more seeds than the others, in words; empty if none."""
        if self.near_best is None:
            return ""
        seeds, near = ", ".join(map(str, self.near_best.seeds)), self.near_best
        of = f" of their {near.axis}" if near.axis else ""
        return f"Seeds {seeds} too: contenders within {near.within:g} of the best val {self.metric}{of}."

    def markdown(self) -> str:
        """The table and what it lacks."""
        body = [[cell.replace("|", "\\|") for cell in row] for row in self.cells(star=" \\*")]
        rows = [self.header(), ["--", *["--:"] * (len(self.header()) - 1)], *body]
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines += ["", "\\* on the Pareto front of test quality against table bytes. +- is the deviation over seeds."]
        lines += [self.further_seeds()] if self.near_best else []
        sources = {s.source for s in self.summaries if s.source}
        lines += [f"Published: {'; '.join(sorted(sources))}."] if sources else []
        lines += ["", "Settings found by search:", ""] if self.found else []
        lines += [f"- {name}: {words}" for name, words in self.settings().items()]
        lines += [""] if self.found else []
        lines += [f"Failed: {run}: {error}" for run, error in self.failed.items()]
        lines += [self.not_run()] if self.missing else []
        lines += ["", "Left out:", "", *(f"- {name}: {why}" for name, why in self.left_out.items())] * bool(
            self.left_out
        )
        return "\n".join(lines) + "\n"

    def not_run(self) -> str:
        """A sentence with the first of the runs that are missing, and how many more there are."""
        named = ", ".join(self.missing[:_MOST_NAMED])
        others = len(self.missing) - _MOST_NAMED
        return f"Not run: {named}{f' and {others} more' if others > 0 else ''}."

    def figure(self) -> Figure:
        """Quality against bytes, with the front."""
        return scatter(self.summaries, self.front(), self.metric)

    def write(self, folder: Path) -> None:
        """Write table.md, summaries.parquet, runs.parquet, pareto.png and report.html."""
        figure = self.figure()
        environment = Environment(loader=PackageLoader("recsys.comparison"), autoescape=True)
        page = environment.get_template("report.html.jinja").render(report=self, picture=svg(figure))
        with whole_files(folder) as place:
            (place / "table.md").write_text(self.markdown(), encoding="utf-8")
            pq.write_table(pa.Table.from_pylist([asdict(s) for s in self.summaries]), place / "summaries.parquet")
            pq.write_table(pa.Table.from_pylist([dict(row) for row in self.runs]), place / "runs.parquet")
            figure.savefig(place / "pareto.png", dpi=150)
            (place / "report.html").write_text(page, encoding="utf-8")

    def update(self, page: Path) -> None:
        """Put the table between the page's marks `<!-- comparison: NAME -->` and `<!-- end -->`.

        Raises:
            ValueError: if the page does not have them once each.
        """
        text, pattern = marked(page, self.name)
        write_whole_text(page, pattern.sub(lambda match: f"{match[1]}\n{self.markdown()}\n{match[2]}", text))


def marked(page: Path, name: str) -> tuple[str, re.Pattern[str]]:
    """A page's text, and what finds the table of the comparison of a name in it.

    Raises:
        ValueError: if the page does not have the table's marks once each.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    mark = f"<!-- comparison: {name} -->"
    pattern = re.compile(rf"({re.escape(mark)}\n).*?(<!-- end -->)", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"{page}: needs one line '{mark}' and, after it, one '<!-- end -->'.")
    return text, pattern


def _words(found: Found, metric: str) -> str:
    settings = ", ".join(f"{name} = {value:.4g}" for name, value in found.settings.items())
    failed = f", {found.num_failed} of them failed" if found.num_failed else ""
    return f"{settings} (val {metric} {found.val:.4f}, the best of {found.num_trials} trials{failed})"


def _cells(summary: Summary, optional: Sequence[str]) -> list[str]:
    spread = "" if math.isnan(summary.spread) else f" +- {summary.spread:.4f}"
    known = {
        "log loss": "" if math.isnan(summary.log_loss) else f"{summary.log_loss:.4f}",
        "published": "" if summary.published is None else f"{summary.published:.4f}",
    }
    return [
        summary.contender,
        f"{summary.test:.4f}{spread}",
        *(known[name] for name in optional),
        f"{summary.val:.4f}",
        str(summary.num_seeds),
        f"{summary.table_bytes:,}",
        f"{summary.training_bytes:,}",
        human_bytes(summary.peak_memory_bytes),
    ]
