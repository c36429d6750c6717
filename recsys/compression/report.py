"""What compression gave: on the terminal, as JSON, and as a page with a picture that opens without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure
from rich.table import Table

from recsys.compression.plots import quality_against_bytes
from recsys.compression.quality import SHOWN, difference_in_words
from recsys.compression.trials import Trial
from recsys.evaluation import Comparison
from recsys.evaluation.plots import svg
from recsys.human import as_json, console, human_bytes
from recsys.prepare.files.whole_files import whole_files


@dataclass(frozen=True)
class CompressionReport:
    """Trials of a checkpoint.

    Args:
        title: of the page.
        full_bytes: of the V x D matrices in float32.
        trained_bytes: of the tables that the checkpoint has.
        trials: in the order in which they were made.
        metrics: of the trials, the first for the picture.
        chosen: by its place among the trials, if any was.
        notes: lines below the table.
        pictures: beside that of AUC and bytes, by caption.
    """

    title: str
    full_bytes: int
    trained_bytes: int
    trials: Sequence[Trial]
    metrics: Sequence[str]
    chosen: int | None = None
    notes: Sequence[str] = ()
    pictures: Mapping[str, Figure] = field(default_factory=dict)

    def cells(self) -> list[list[str]]:
        """Rows under `header`."""
        return [self._cells(trial) for trial in self.trials]

    @property
    def header(self) -> list[str]:
        """Headings of the table."""
        compared = [
            heading
            for name in self.metrics
            for heading in (f"{SHOWN[name]} before", f"{SHOWN[name]} after", "difference")
        ]
        return ["method", "budget", "bytes", "of full", f"val {SHOWN[self.metrics[0]]}", *compared, "seconds"]

    def _cells(self, trial: Trial) -> list[str]:
        return [
            trial.method,
            human_bytes(trial.budget_bytes),
            f"{trial.num_bytes:,}",
            f"{trial.num_bytes / self.full_bytes:.2%}",
            f"{trial.val[self.metrics[0]].second:.5f}" if trial.val else "",
            *(cell for name in self.metrics for cell in _compared(trial.shown[name])),
            f"{trial.seconds:.1f}",
        ]

    def lines(self) -> list[str]:
        """What is said below the table."""
        split = "test" if all(trial.test for trial in self.trials) else "val"
        shown = " and ".join(SHOWN[name] for name in self.metrics)
        return [
            f"Trained tables: {self.trained_bytes:,} bytes; full tables: {self.full_bytes:,} bytes. {shown} are of the "
            f"{split} split, differences with 95 % intervals of the same rows.",
            *self.notes,
            *(_lost_rows(trial) for trial in self.trials if trial.without_rows),
        ]

    def print(self) -> None:
        """Show the table on the terminal."""
        view = Table(title=self.title, title_justify="left")
        for place, heading in enumerate(self.header):
            view.add_column(heading, justify="left" if place == 0 else "right")
        for row in self.cells():
            view.add_row(*row)
        console(width=190).print(view, *self.lines(), sep="\n")

    def write(self, folder: Path) -> None:
        """Write compression.json, a picture of the first metric against bytes, and report.html."""
        content = {
            "title": self.title,
            "full_bytes": self.full_bytes,
            "trained_bytes": self.trained_bytes,
            "chosen": None if self.chosen is None else self.trials[self.chosen].method,
            "trials": [_plain(trial) for trial in self.trials],
            "notes": list(self.notes),
        }
        caption = f"{SHOWN[self.metrics[0]]} against bytes"
        picture = quality_against_bytes(self.trials, self.trained_bytes, self.metrics[0])
        pictures = {caption: picture, **self.pictures}
        environment = Environment(loader=PackageLoader("recsys.compression"), autoescape=True)
        drawn = {name: svg(figure) for name, figure in pictures.items()}
        page = environment.get_template("report.html.jinja").render(report=self, header=self.header, pictures=drawn)
        with whole_files(folder) as place:
            (place / "compression.json").write_text(as_json(content))
            for name, figure in pictures.items():
                figure.savefig(place / f"{name.lower().replace(' ', '_')}.png", dpi=130)
            (place / "report.html").write_text(page, encoding="utf-8")


def _compared(found: Comparison) -> list[str]:
    return [f"{found.first:.5f}", f"{found.second:.5f}", difference_in_words(found)]


def _lost_rows(trial: Trial) -> str:
    names = trial.without_rows
    return (
        f"{trial.method} in {trial.budget_bytes:,} bytes leaves {len(names)} of {len(trial.compressed)} tables no "
        "rows, one vector for all their ids, and needs a larger budget to leave them some: " + ", ".join(names) + "."
    )


def _plain(trial: Trial) -> dict[str, object]:
    return {
        "method": trial.method,
        "budget_bytes": trial.budget_bytes,
        "num_bytes": trial.num_bytes,
        "seconds": trial.seconds,
        "tables": {name: type(table).__name__ for name, (table, _) in trial.compressed.items()},
        "without_rows": trial.without_rows,
        "val": {name: asdict(found) for name, found in trial.val.items()},
        "test": {name: asdict(found) for name, found in trial.test.items()},
    }
