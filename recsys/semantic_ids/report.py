"""What codes are like, on a page that opens without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader

from recsys.evaluation.plots import svg
from recsys.human import as_json
from recsys.prepare.files.whole_files import whole_files
from recsys.prepare.semantic.codes import Codes
from recsys.prepare.semantic.measures import CodesUse, shared_prefixes
from recsys.semantic_ids.plots import figures

HEADER = ("level", "used", "dead", "perplexity", "gini", "prefixes", "items alone")
NUM_GROUPS, NUM_EXAMPLES = 8, 6


@dataclass(frozen=True)
class CodesReport:
    """A page about codes.

    Args:
        title: of the page.
        codes: of items.
        use: of the codes.
        names: of items, in place of their ids; those without one keep it.
    """

    title: str
    codes: Codes
    use: CodesUse
    names: Mapping[str, str]

    def notes(self) -> list[str]:
        """What is not in the table."""
        use = self.use
        notes = [
            f"{use.num_items:,} items, {use.num_without:,} without codes; {use.aliased_items:,} share all their codes "
            f"with another, at most {use.largest_alias:,} the same. Their vectors are equal in a SemanticIdTable.",
        ]
        if use.reconstruction_error is not None:
            notes.append(f"Reconstruction error: {use.reconstruction_error:.4f} of the vectors' variance.")
        return notes

    def cells(self) -> list[list[str]]:
        """Rows under HEADER."""
        return [
            [
                str(level.level),
                f"{level.used:,}",
                f"{level.dead:,}",
                f"{level.perplexity:.1f}",
                f"{level.gini:.3f}",
                f"{level.num_prefixes:,}",
                f"{level.alone_fraction:.1%}",
            ]
            for level in self.use.levels
        ]

    def examples(self) -> list[tuple[str, list[tuple[str, list[str]]]]]:
        """For each level but the last, prefixes with most items, and some of these."""
        return [
            (
                f"level {level}",
                [
                    (prefix, [self.names.get(item, item) for item in items])
                    for prefix, items in shared_prefixes(self.codes, level, NUM_GROUPS, NUM_EXAMPLES)
                ],
            )
            for level in range(max(1, self.codes.num_levels - 1))
        ]

    def write(self, folder: Path) -> None:
        """Write use.json, a PNG of each picture and report.html."""
        pictures = figures(self.codes, self.use)
        environment = Environment(loader=PackageLoader("recsys.semantic_ids"), autoescape=True)
        drawn = {caption: svg(figure) for caption, figure in pictures.items()}
        page = environment.get_template("report.html.jinja").render(report=self, header=HEADER, pictures=drawn)
        with whole_files(folder) as place:
            (place / "use.json").write_text(as_json(asdict(self.use)), encoding="utf-8")
            for caption, figure in pictures.items():
                figure.savefig(place / f"{caption.lower().replace(' ', '_')}.png", dpi=130)
            (place / "report.html").write_text(page, encoding="utf-8")


def names_of(items: Sequence[object], names: Sequence[object]) -> dict[str, str]:
    """What items are called, as text."""
    return {str(item): str(name) for item, name in zip(items, names, strict=True) if name is not None}
