"""Portraits on the terminal, as JSON and Parquet, and as a page that opens without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader
from rich.table import Table

from recsys.description.optimizer_state import DenseModel
from recsys.description.plots import figures
from recsys.description.portrait import TablePortrait
from recsys.evaluation.plots import svg
from recsys.human import as_json, console, human_bytes
from recsys.prepare.files.whole_files import whole_files

HEADER = (
    "table", "method", "size", "rows", "serving", "training", "ratio", "expected collisions", "collisions",
    "unused rows", "dead rows", "effective rank",
)  # fmt: skip


@dataclass(frozen=True)
class DescriptionReport:
    """The portraits of all tables of a checkpoint, and the bytes of what is trained beside them."""

    title: str
    portraits: Sequence[TablePortrait]
    notes: Sequence[str]
    dense: DenseModel

    def cells(self) -> list[list[str]]:
        """Rows under HEADER."""
        return [_cells(portrait) for portrait in self.portraits]

    def print(self) -> None:
        """Show the table on the terminal."""
        view = Table(title=self.title, title_justify="left")
        for place, heading in enumerate(HEADER):
            view.add_column(heading, justify="left" if place < 2 else "right")
        for row in self.cells():
            view.add_row(*row)
        console(width=170).print(view, *self.notes)

    def write(self, folder: Path) -> None:
        """Write tables.json, tables.parquet, a PNG of each picture and report.html."""
        rows = [asdict(portrait) for portrait in self.portraits]
        content = {"title": self.title, "dense": asdict(self.dense), "tables": rows}
        pictures = figures(self.portraits)
        environment = Environment(loader=PackageLoader("recsys.description"), autoescape=True)
        drawn = {caption: svg(figure) for caption, figure in pictures.items()}
        page = environment.get_template("report.html.jinja").render(report=self, header=HEADER, pictures=drawn)
        with whole_files(folder) as place:
            (place / "tables.json").write_text(as_json(content))
            pq.write_table(pa.Table.from_pylist(rows), place / "tables.parquet")
            for caption, figure in pictures.items():
                figure.savefig(place / f"{caption.lower().replace(' ', '_')}.png", dpi=130)
            (place / "report.html").write_text(page, encoding="utf-8")


def _cells(portrait: TablePortrait) -> list[str]:
    return [
        portrait.name,
        portrait.method,
        f"{portrait.num_embeddings:,} x {portrait.embedding_dim}",
        f"{portrait.num_rows:,}",
        human_bytes(portrait.serving_bytes),
        human_bytes(portrait.training_bytes),
        f"{portrait.compression_ratio:.1f}",
        f"{portrait.expected_collisions:,.0f}",
        "-" if portrait.collisions is None else f"{portrait.collisions:,}",
        "-" if portrait.unused_rows is None else f"{portrait.unused_rows:,}",
        f"{portrait.dead_rows:,}",
        f"{portrait.effective_rank:.1f}",
    ]
