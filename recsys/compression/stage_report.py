"""What the stages of a folder gave: the compact model beside the searched one, and pictures of what is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure
from torch import Tensor

from recsys.checkpoints import load
from recsys.checkpoints.reading import read
from recsys.compression.pictures import kept_figures, search_figure
from recsys.compression.quality import SHOWN, difference_in_words, measured_splits, quality_of, scores_in_bf16
from recsys.compression.stage_run import MODEL
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.evaluation import Comparison
from recsys.evaluation.plots import svg
from recsys.human import human_bytes
from recsys.prepare.files.whole_files import whole_files
from recsys.tables.sizing import stored_bytes


def write_stage_report(out: Path, command: list[str], counts: Mapping[str, Tensor]) -> None:
    """Print the figures of a folder whose stages are done, and write stages.json, pictures and report.html.

    Args:
        out: the folder.
        command: -c CONFIG and overrides of the search.
        counts: how often each id occurs in training, by table.
    """
    found = _compared(out, command)
    collection = load(out / MODEL)
    tables = {name: collection.table(name) for name in dict.fromkeys(f.table for f in collection.features)}
    num_bytes, full_bytes = stored_bytes(tables), sum(table.logical_bytes() for table in tables.values())
    lines = [f"Compact tables: {num_bytes:,} bytes, {num_bytes / full_bytes:.2%} of {human_bytes(full_bytes)}."]
    for split, metrics in found.items():
        for name, each in metrics.items():
            lines.append(
                f"{split} {name}: {each.first:.5f} searched, {each.second:.5f} compact, difference "
                f"{difference_in_words(each)}, 95 % interval of the same rows."
            )
    print("\n".join(lines))
    pictures = {**_search_pictures(out, next(iter(found.get("val", {})), "")), **kept_figures(tables, counts)}
    plain = {split: {name: asdict(each) for name, each in metrics.items()} for split, metrics in found.items()}
    content = {"num_bytes": num_bytes, "full_bytes": full_bytes, "compared": plain}
    environment = Environment(loader=PackageLoader("recsys.compression"), autoescape=True)
    drawn = {caption: svg(figure) for caption, figure in pictures.items()}
    page = environment.get_template("stages.html.jinja").render(title=str(out), lines=lines, pictures=drawn)
    with whole_files(out) as place:
        (place / "stages.json").write_text(json.dumps(content, indent=1) + "\n")
        for caption, figure in pictures.items():
            figure.savefig(place / f"{caption.lower().replace(' ', '_')}.png", dpi=130)
        (place / "report.html").write_text(page, encoding="utf-8")
    print(f"report: {out / 'report.html'}")


def _compared(out: Path, command: list[str]) -> dict[str, dict[str, Comparison]]:
    """By split and metric, compact against searched, both on the data of the command."""
    collected = []
    path = RecsysCLI.launch(command, run=False).datamodule.schema.path
    compact = ["-c", str(out / "config.yaml"), f"--data.init_args.path={path}"]
    for folder, words in ((out / "search", command), (out, compact)):
        cli = RecsysCLI.launch(words, run=False)
        cli.model.configure_model()
        cli.model.load_state_dict(read(folder / MODEL)["state_dict"])
        bf16 = scores_in_bf16(cli.trainer)
        quality = quality_of(cli.model.eval(), bf16)
        collected.append({split: quality.of_split(cli.datamodule, split) for split in measured_splits(cli.datamodule)})
    first, second = collected
    return {split: quality.compare(first[split], second[split]) for split in first}


def _search_pictures(out: Path, metric: str) -> dict[str, Figure]:
    path = out / "selection" / "evolution.json"
    if not path.is_file():
        return {}
    return {f"{SHOWN[metric]} along the search": search_figure(json.loads(path.read_text())["best"], metric)}
