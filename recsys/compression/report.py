"""What compression gave: on the terminal, as JSON, and as a page with a picture that opens without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure
from rich.table import Table

from recsys.compression.plots import auc_against_bytes
from recsys.compression.trials import Trial
from recsys.evaluation import Comparison
from recsys.evaluation.plots import svg
from recsys.human import console, human_bytes

HEADER = (
    "method", "budget", "bytes", "of full", "val AUC", "AUC before", "AUC after", "difference", "log loss before",
    "log loss after", "difference", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class CompressionReport:
    """Trials of a checkpoint.

    Args:
        title: of the page.
        full_bytes: of the V x D matrices in float32.
        trained_bytes: of the tables that the checkpoint has.
        trials: in the order in which they were made.
        chosen: by its place among the trials, if any was.
        notes: lines below the table.
        pictures: beside that of AUC and bytes, by caption.
    """

    title: str
    full_bytes: int
    trained_bytes: int
    trials: Sequence[Trial]
    chosen: int | None = None
    notes: Sequence[str] = ()
    pictures: Mapping[str, Figure] = field(default_factory=dict)

    def cells(self) -> list[list[str]]:
        """Rows under HEADER."""
        return [_cells(trial, self.full_bytes) for trial in self.trials]

    def lines(self) -> list[str]:
        """What is said below the table."""
        split = "test" if all(trial.test for trial in self.trials) else "val"
        return [
            f"Trained tables: {self.trained_bytes:,} bytes; full tables: {self.full_bytes:,} bytes. AUC and log loss "
            f"are of the {split} split, differences with 95 % intervals of the same rows.",
            *self.notes,
        ]

    def print(self) -> None:
        """Show the table on the terminal."""
        view = Table(title=self.title, title_justify="left")
        for place, heading in enumerate(HEADER):
            view.add_column(heading, justify="left" if place == 0 else "right")
        for row in self.cells():
            view.add_row(*row)
        console(width=190).print(view, *self.lines(), sep="\n")

    def write(self, folder: Path) -> None:
        """Write compression.json, auc_against_bytes.png and report.html."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "title": self.title,
            "full_bytes": self.full_bytes,
            "trained_bytes": self.trained_bytes,
            "chosen": None if self.chosen is None else self.trials[self.chosen].method,
            "trials": [_plain(trial) for trial in self.trials],
            "notes": list(self.notes),
        }
        (folder / "compression.json").write_text(json.dumps(content, indent=1) + "\n")
        caption = "AUC against bytes"
        pictures = {caption: auc_against_bytes(self.trials, self.trained_bytes), **self.pictures}
        for name, figure in pictures.items():
            figure.savefig(folder / f"{name.lower().replace(' ', '_')}.png", dpi=130)
        environment = Environment(loader=PackageLoader("recsys.compression"), autoescape=True)
        drawn = {name: svg(figure) for name, figure in pictures.items()}
        page = environment.get_template("report.html.jinja").render(report=self, header=HEADER, pictures=drawn)
        (folder / "report.html").write_text(page, encoding="utf-8")


def _cells(trial: Trial, full_bytes: int) -> list[str]:
    auc, loss = trial.shown["auc"], trial.shown["log_loss"]
    return [
        trial.method,
        human_bytes(trial.budget_bytes),
        f"{trial.num_bytes:,}",
        f"{trial.num_bytes / full_bytes:.2%}",
        f"{trial.val['auc'].second:.5f}",
        *_compared(auc),
        *_compared(loss),
        f"{trial.seconds:.1f}",
    ]


def _compared(found: Comparison) -> list[str]:
    difference = f"{found.difference:+.5f} [{found.low:+.5f}, {found.high:+.5f}]"
    return [f"{found.first:.5f}", f"{found.second:.5f}", difference]


def _plain(trial: Trial) -> dict[str, object]:
    return {
        "method": trial.method,
        "budget_bytes": trial.budget_bytes,
        "num_bytes": trial.num_bytes,
        "seconds": trial.seconds,
        "tables": {name: type(table).__name__ for name, (table, _) in trial.compressed.items()},
        "val": {name: asdict(found) for name, found in trial.val.items()},
        "test": {name: asdict(found) for name, found in trial.test.items()},
    }
