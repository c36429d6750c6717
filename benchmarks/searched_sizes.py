"""What `recsys compress` in stages gave in several folders, as a table.

    python benchmarks/searched_sizes.py runs/*-10 --update docs/results.md --name "Criteo rows, searched"

Prints it in Markdown, and with --update puts it into a page, between `<!-- searched: NAME -->` and `<!-- end -->`: of
each folder the model, the method, the seed, the budget, the bytes as served, AUC on val and test, and the difference to
the searched model's test AUC with its 95 % interval.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import page_tables

from recsys.checkpoints.reading import read
from recsys.checkpoints.settings import SETTINGS
from recsys.compression.quality import difference_in_words
from recsys.evaluation import Comparison

HEADER = (
    "| model | method | seed | budget | bytes | val | test | to its own search |",
    "|--|--|--:|--:|--:|--:|--:|--:|",
)


def line(out: Path) -> tuple[tuple[object, ...], str]:
    """What a folder's row is sorted by, and the row."""
    stages = json.loads((out / "stages.json").read_text())
    settings = read(out / "search" / "model.ckpt")[SETTINGS]
    names = [settings[key].rpartition(".")[2] for key in ("model.model", "model.tables.default")]
    fraction = json.loads((out / "selection" / "selected.json").read_text())["bytes"] / stages["full_bytes"]
    val, test = (stages["compared"][split]["auc"] for split in ("val", "test"))
    cells = [
        names[0],
        f"`{names[1]}`",
        str(settings["seed_everything"]),
        f"{fraction:.0%}",
        f"{stages['num_bytes']:,}",
        f"{val['second']:.5f}",
        f"{test['second']:.5f}",
        difference_in_words(Comparison(**test)),
    ]
    return (names[0], -round(fraction, 2), -test["second"]), f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--update", type=Path, metavar="PAGE", help="put the table there")
    parser.add_argument("--name", default="", help="of the table in the page")
    arguments = parser.parse_args()
    table = "\n".join([*HEADER, *(row for _, row in sorted(map(line, arguments.folders)))])
    print(table)
    if arguments.update:
        page_tables.put(arguments.update, f"searched: {arguments.name}", table)


if __name__ == "__main__":
    main()
