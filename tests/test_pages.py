"""What pages show on files that anyone has, run line by line on small files made here."""

import random
import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from recsys.cli import main
from recsys.comparison import read_comparison
from recsys.comparison.arguments import check_contenders
from recsys.prepare.clicks.criteo_sample import write_sample
from recsys.prepare.programs import criteo
from tests.checkpoints.words import WORDS, command, write_words
from tests.console import PAGES, ROOT, commands_of
from tests.test_readme import AFTER_COMMANDS, FENCED

SHORT = ["max_epochs=1", "limit_train_batches=2", "limit_val_batches=1", "enable_progress_bar=false", "accelerator=cpu"]
TRAINS = ("fit", "validate", "test", "predict")


def clicks(num_rows, label, seed=0):
    draw = random.Random(seed)
    rows = [
        {
            label: draw.randrange(2),
            **{name: draw.choice("abc") for name in ("C1", "C2")},
            "user": f"u{draw.randrange(9)}",
            "item": draw.randrange(20),
            "price": round(draw.expovariate(0.1), 2),
            "age": draw.randrange(18, 90),
            "tags": "|".join(draw.sample(["new", "old", "red"], draw.randrange(3))),
            "w": draw.choice([1, 2]),
            "at": 1_600_000_000 + 3600 * row,
            "request": f"r{seed}-{row}",
        }
        for row in range(num_rows)
    ]
    return pl.DataFrame(rows)


def files_of_readme():
    clicks(400, "clicked").write_csv("log.csv")
    write_sample(Path("train.txt"), 400, 0)


def files_of_data():
    clicks(400, "click").write_csv("log.csv")
    clicks(100, "click", 1).write_parquet("more.parquet")
    Path("parts").mkdir()
    for part in (2, 3):
        clicks(50, "click", part).write_csv(f"parts/{part}.csv")
    clicks(30, "click", 4).drop("click").write_parquet("new.parquet")
    criteo.main(["--sample", "200", "--out", "data/criteo"])
    lines = Path("data/criteo/raw/train.txt").read_text().splitlines(keepends=True)
    Path("test.txt").write_text("".join(line.partition("\t")[2] for line in lines[:20]))


def files_of_checkpoints():
    write_words(Path("may"))
    write_words(Path("june"), WORDS[::-1])
    main(["fit", *command(Path("may"), Path("runs"))])
    (checkpoint,) = Path("runs").rglob("*.ckpt")
    shutil.copy(checkpoint, "may.ckpt")
    shutil.copy(checkpoint.parents[1] / "config.yaml", "config.yaml")


def files_of_tables():
    criteo.main(["--sample", "5000", "--out", "data/criteo"])


MADE = {
    "README.md": files_of_readme,
    "data.md": files_of_data,
    "checkpoints.md": files_of_checkpoints,
    "serving.md": files_of_tables,
    "tables.md": files_of_tables,
}


def run(words):
    """One command; training is short, and its best checkpoint is found where pages name it."""
    more = [f"--trainer.{word}" for word in SHORT] if words[0] in TRAINS else []
    try:
        main([*words, *more])
    except SystemExit as stop:
        if stop.code:
            pytest.fail(f"recsys {' '.join(words)} ended with {stop.code}")
    found = sorted(Path("lightning_logs").rglob("*.ckpt"))
    if found:
        shutil.copy(found[-1], "best.ckpt")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name in MADE], ids=lambda page: page.name)
def test_its_commands_run_one_after_the_other(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    MADE[page.name]()
    shown = [command.words[1:] for command in commands_of(page) if command.words[0] in ("recsys", "lightning")]
    assert shown
    for words in shown:
        run(list(words))
    for block in FENCED.findall(page.read_text()) if page.name in AFTER_COMMANDS else []:
        exec(compile(block, page.name, "exec"), {})
    assert page.name != "data.md" or Path("predictions.parquet").exists()


def test_the_comparison_of_its_page_can_be_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    criteo.main(["--sample", "5000", "--out", "data/sample"])
    (shown,) = re.findall(r"```yaml\n(name: .*?)```", (ROOT / "docs/compare.md").read_text(), re.DOTALL)
    Path("comparison.yaml").write_text(shown)
    comparison = read_comparison(Path("comparison.yaml"))
    assert [each.name for each in comparison.contenders] == [
        "50%, HashTable", "50%, UnifiedTable", "10%, HashTable", "10%, UnifiedTable"
    ]  # fmt: skip
    check_contenders(comparison)
