"""The command: every file kind, every mistake, and a page that opens without a network."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from recsys.cli import main
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.evaluation import auc


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    z = generator.normal(-1, 1, 3_000)
    labels = (generator.random(3_000) < 1 / (1 + np.exp(-z))).astype(np.int64)
    return {
        "label": labels,
        "score": 1 / (1 + np.exp(-z - generator.normal(0, 0.5, 3_000))),
        "user": generator.integers(0, 200, 3_000),
        "item": generator.integers(0, 50, 3_000),
        "device": np.array(["phone", "desktop"])[generator.integers(0, 2, 3_000)],
        "time": np.arange(3_000),
    }


@pytest.fixture
def predictions(rows, tmp_path):
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *map(str, words)])
    return stop.value.code


def values(folder, cut="all", part="all"):
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    return {m["name"]: m["value"] for m in metrics if (m["cut"], m["part"]) == (cut, part)}


def test_a_whole_report(predictions, rows, tmp_path, capsys):
    counts = tmp_path / "counts.parquet"
    pq.write_table(pa.table({"id": np.arange(40), "count": np.arange(40)[::-1]}), counts)
    second = rows | {"score": np.clip(rows["score"] + 0.02, 0, 1)}
    pq.write_table(pa.table(second), tmp_path / "b.parquet")
    out = tmp_path / "report"
    words = ["--group", "user", "--slice", "device", "--frequency", f"item={counts}", "--time", "time"]
    assert run(predictions, *words, "--against", tmp_path / "b.parquet", "--out", out) == 0
    printed = capsys.readouterr().out
    assert "by device" in printed
    assert "second minus first" in printed
    found = values(out)
    assert found["auc"] == auc(rows["label"], rows["score"])
    assert found["label_rate"] == rows["label"].mean()
    phone = rows["device"] == "phone"
    assert values(out, "device", "phone")["auc"] == auc(rows["label"][phone], rows["score"][phone])
    unseen = rows["item"] >= 39  # the count of item 39 is 0
    part = values(out, "frequency of item", "unseen")
    assert part["auc"] == auc(rows["label"][unseen], rows["score"][unseen])
    table = pq.read_table(out / "metrics.parquet").to_pylist()
    assert {row["name"] for row in table} >= {"auc", "gauc", "pr_auc", "log_loss", "calibration"}
    assert sum(row["num_rows"] for row in table if (row["cut"], row["name"]) == ("time", "auc")) == 3_000


def test_values_in_the_page_are_words_and_not_markup(rows, tmp_path):
    named = rows | {"device": np.array(["<b>phone", "desktop"])[rows["item"] % 2]}
    pq.write_table(pa.table(named), tmp_path / "a.parquet")
    assert run(tmp_path / "a.parquet", "--slice", "device", "--out", tmp_path / "out") == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "&lt;b&gt;phone" in page
    assert page.count("<svg") == 3


def test_csv_tsv_and_several_files_give_the_same_numbers(predictions, rows, tmp_path):
    table = pa.table(rows)
    pacsv.write_csv(table, tmp_path / "a.csv")
    pacsv.write_csv(table, tmp_path / "a.tsv", pacsv.WriteOptions(delimiter="\t"))
    pq.write_table(table.slice(0, 1_000), tmp_path / "1.parquet")
    pq.write_table(table.slice(1_000), tmp_path / "2.parquet")
    files = [
        [predictions],
        [tmp_path / "a.csv"],
        [tmp_path / "a.tsv"],
        [tmp_path / "1.parquet", tmp_path / "2.parquet"],
    ]
    for number, paths in enumerate(files):
        assert run(*paths, "--out", tmp_path / str(number)) == 0
    reports = [values(tmp_path / str(number)) for number in range(len(files))]
    assert all(report == pytest.approx(reports[0]) for report in reports)


def test_streamed_rows_give_the_same_auc(predictions, tmp_path):
    assert run(predictions, "--out", tmp_path / "held") == 0
    assert run(predictions, "--memory", "1e-5", "--out", tmp_path / "streamed") == 0
    held, streamed = values(tmp_path / "held"), values(tmp_path / "streamed")
    assert streamed["auc"] == held["auc"]
    assert streamed == pytest.approx({name: held[name] for name in streamed})
    assert "gauc" not in streamed


def test_logits_and_probabilities_agree(predictions, rows, tmp_path):
    logits = rows | {"score": np.log(rows["score"] / (1 - rows["score"]))}
    pq.write_table(pa.table(logits), tmp_path / "logits.parquet")
    run(predictions, "--out", tmp_path / "p")
    run(tmp_path / "logits.parquet", "--logits", "--out", tmp_path / "z")
    assert values(tmp_path / "z") == pytest.approx(values(tmp_path / "p"))


def test_ranking_files(tmp_path):
    rows = {"query": [1, 1, 1, 2, 2], "label": [0, 1, 0, 0, 0], "score": [3.0, 2.0, 1.0, 1.0, 2.0]}
    pq.write_table(pa.table(rows), tmp_path / "lists.parquet")
    words = ["--ranking", "--group", "query", "--cutoffs", 1, 2, "--out", tmp_path / "out"]
    assert run(tmp_path / "lists.parquet", *words) == 0
    assert values(tmp_path / "out") | {"ndcg@2": None} == {
        "hr@1": 0, "recall@1": 0, "ndcg@1": 0, "mrr@1": 0, "hr@2": 1, "recall@2": 1, "ndcg@2": None, "mrr@2": 0.5
    }  # fmt: skip


def test_a_checkpoint_is_evaluated_on_its_data(prepared, tmp_path, capsys):
    config = Path(__file__).resolve().parents[2] / "configs" / "criteo.yaml"
    words = ["-c", str(config), f"--data.init_args.path={prepared}", "--trainer.enable_progress_bar=false"]
    fit = [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=1", "--trainer.logger=false"]
    cli = RecsysCLI.launch(["fit", *words, *fit])
    checkpoint = cli.trainer.checkpoint_callback.best_model_path
    (expected,) = cli.trainer.test(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, verbose=False)
    assert run("--ckpt_path", checkpoint, *words, "--slice", "C1", "--out", tmp_path / "out") == 0
    found = values(tmp_path / "out")
    assert found["auc"] == pytest.approx(expected["test/auc"], abs=1e-6)
    assert found["log_loss"] == pytest.approx(expected["test/log_loss"], abs=1e-5)
    metrics = pq.read_table(tmp_path / "out" / "metrics.parquet").to_pylist()
    counted = {row["part"]: row["num_rows"] for row in metrics if row["cut"] == "C1"}
    stored = pq.read_table(prepared / "test")["C1"].to_pylist()
    assert counted == {str(value): stored.count(value) for value in set(stored)}
    assert run("--ckpt_path", checkpoint, *words, "--slice", "C9") == 2
    assert "no column 'C9'" in capsys.readouterr().err
    assert run("--ckpt_path", tmp_path / "no.ckpt", *words) == 2
    assert "no.ckpt' does not exist" in capsys.readouterr().err


def change(column, row, value):
    def apply(rows):
        values = rows[column].astype(object)
        values[row] = value
        return rows | {column: pa.array(values.tolist())}

    return apply


@pytest.mark.parametrize(
    ("mistake", "words", "message"),
    [
        (change("score", 17, float("nan")), [], "column 'score', row 17: values must be numbers, got nan"),
        (change("score", 5, None), [], "column 'score', row 5: the value is missing"),
        (change("score", 9, 1.5), [], "column 'score', row 9: probabilities must be in [0, 1]"),
        (change("label", 3, 2), [], "column 'label', row 3: labels must be 0 or 1, got 2"),
        (change("user", 2, -1), ["--weight", "user"], "column 'user', row 2: weights must be at least 0, got -1"),
        (lambda rows: rows | {"label": rows["label"] * 0}, [], "all 3,000 rows have label 0"),
        (lambda rows: rows, ["--score", "scor"], "no column 'scor'; did you mean 'score'?"),
        (lambda rows: rows, ["--slice", "devices"], "no column 'devices'; did you mean 'device'?"),
        (lambda rows: {"label": [], "score": []}, [], "the file has no rows"),
        (lambda rows: rows | {"score": rows["device"]}, [], "column 'score': must be numbers, got string"),
        (lambda rows: rows, ["--frequency", "item"], "must be COLUMN=COUNTS.parquet"),
        (lambda rows: rows, ["--frequency", "item=no.parquet"], "no.parquet: the file of counts does not exist"),
        (lambda rows: rows, ["--ranking"], "--ranking needs --group"),
        (lambda rows: rows, ["--memory", "1e-5", "--group", "user"], "streamed rows allow no --group"),
        (lambda rows: rows, ["--confidence", "95"], "confidence must be in (0, 1), got 95.0"),
    ],
)
def test_a_mistake_is_named_and_gives_no_number(rows, tmp_path, capsys, mistake, words, message):
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table(mistake(rows)), path)
    assert run(path, *words, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_broken_files_are_named(predictions, tmp_path, capsys):
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(predictions.read_bytes()[:-200])
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "torn.csv").write_text("label,score\n1,0.5\n0\n")
    for path, message in (
        (broken, "broken.parquet: cannot be read as parquet"),
        (tmp_path / "empty.csv", "empty.csv: the file is empty"),
        (tmp_path / "torn.csv", "torn.csv: cannot be read"),
        (tmp_path / "none.parquet", "none.parquet: the file does not exist"),
        (tmp_path, "a folder must hold parts of one kind"),
    ):
        assert run(path) == 2
        assert message in capsys.readouterr().err


def test_two_models_must_have_the_same_rows(predictions, rows, tmp_path, capsys):
    pq.write_table(pa.table(rows).slice(1), tmp_path / "short.parquet")
    assert run(predictions, "--against", tmp_path / "short.parquet") == 2
    assert "not of the same rows: 3,000 and 2,999 rows" in capsys.readouterr().err


def test_evaluation_does_not_import_torch():
    check = "import sys, recsys.commands.evaluate, recsys.evaluation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium on this machine")
def test_the_page_opens_in_a_browser_without_a_network(predictions, tmp_path):
    run(predictions, "--slice", "device", "--out", tmp_path / "out")
    page = tmp_path / "out" / "report.html"
    assert "http://" not in page.read_text().replace("http://www.w3.org/", "").replace("http://purl.org/", "").replace(
        "http://creativecommons.org/", ""
    )
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--disable-component-update", "--disable-sync", "--no-first-run", "--proxy-server=127.0.0.1:9"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "All rows" in shown
    assert shown.count("<svg") == 3
