"""The command: rq-vae, new items for it, and the page about codes."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.cli import main
from recsys.prepare.semantic.codes import Codes
from recsys.prepare.semantic.published import read_published


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    vectors = np.random.default_rng(0).standard_normal((120, 6))
    names = [f"<b>item {n}</b> $5" if n != 3 else None for n in range(120)]
    path = tmp_path_factory.mktemp("items") / "items.parquet"
    pl.DataFrame({"item": range(120), "emb": vectors.tolist(), "name": names}).write_parquet(path)
    return path


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main(["semantic_ids", *map(str, words)])
    return stop.value.code


def test_rq_vae_and_new_items(items, tmp_path, capsys):
    half = tmp_path / "half.parquet"
    pl.read_parquet(items)[:60].write_parquet(half)
    made = ["--vectors", "emb", "--method", "rq-vae", "--codes", 8, "--levels", 2, "--steps", 20]
    assert run("--items", half, *made, "--out", tmp_path / "old") == 0
    assert "60 items, 0 without codes" in capsys.readouterr().out
    assert run("--items", items, "--extend", tmp_path / "old", "--out", tmp_path / "new") == 0
    old, new = (read_published(tmp_path / name).codes for name in ("old", "new"))
    assert len(new.items) == 120
    assert np.array_equal(new.values[:60], old.values)
    assert (new.values >= 0).all()


def test_the_page_about_codes(items, tmp_path, capsys):
    assert run("--items", items, "--vectors", "emb", "--codes", 8, "--out", tmp_path / "codes") == 0
    out = tmp_path / "report"
    assert run("report", tmp_path / "codes", "--items", items, "--name", "name", "--out", out) == 0
    assert "report:" in capsys.readouterr().out
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "&lt;b&gt;item" in page
    assert "<b>item" not in page
    assert "Reconstruction error" in page
    assert len(list(out.glob("*.png"))) == 3
    use = json.loads((out / "use.json").read_text())
    assert use["num_items"] == 120
    assert len(use["levels"]) == 3


def test_the_page_about_codes_of_others(tmp_path):
    values = np.array([[0, 1], [0, 1], [-1, -1]])
    path = tmp_path / "codes.parquet"
    Codes(pl.Series(["a", "b", "c"]), values, 4).write(path)
    assert run("report", path, "--out", tmp_path / "report") == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "3 items, 1 without codes; 2 share all their codes with another" in page.replace("\n", " ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--vectors", "emb", "--steps", "5", "--out", "x"], "--steps does nothing"),
        (["--vectors", "emb", "--ema", "0.9", "--out", "x"], "--ema does nothing"),
        (
            ["--vectors", "emb", "--method", "rq-vae", "--ema", "nan", "--out", "x"],
            "--ema must be in [0, 1), got nan",
        ),
        (["--vectors", "emb", "--method", "rq-vae", "--codes", "500", "--out", "x"], "500 codes need"),
        (["report", "nowhere", "--out", "x"], "file 'nowhere' does not exist"),
    ],
)
def test_mistakes_are_named(items, words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = words if words[0] == "report" else ["--items", str(items), *words]
    assert run(*given) == 2
    assert said in capsys.readouterr().err
    assert not Path("x").exists()
