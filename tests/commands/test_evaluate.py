"""The command on every kind of file, and a page that opens without a network."""

import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from recsys.evaluation import auc
from tests.commands.evaluations import run, values


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


def test_users_with_leading_noughts_are_others(tmp_path):
    """In a file of numbers alone, too: a column of users is never one of numbers."""
    (tmp_path / "a.csv").write_text("label,score,user\n0,.1,007\n1,.9,007\n0,.95,7\n1,.99,7\n")
    assert run(tmp_path / "a.csv", "--group", "user", "--slice", "user", "--out", tmp_path / "out") == 0
    assert values(tmp_path / "out")["gauc"] == 1.0
    assert values(tmp_path / "out", "user", "007")["auc"] == 1.0
    (gauc,) = (row for row in pq.read_table(tmp_path / "out" / "metrics.parquet").to_pylist() if row["name"] == "gauc")
    assert gauc["num_rows"] == 2


def test_logits_are_known_by_their_name_and_keep_their_precision(tmp_path):
    rows = {"label": [0, 1, 0, 1], "logit": pa.array([40, 1, -1, 2], pa.float32())}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    assert run(tmp_path / "a.parquet", "--out", tmp_path / "out") == 0
    assert round(values(tmp_path / "out")["log_loss"], 4) == 10.1884
    pq.write_table(pa.table({**rows, "score": [0.1, 0.2, 0.3, 0.4]}), tmp_path / "a.parquet")
    assert run(tmp_path / "a.parquet", "--logits", "--out", tmp_path / "out") == 0
    assert round(values(tmp_path / "out")["log_loss"], 4) == 10.1884


def test_what_users_call_things_is_no_markup(rows, tmp_path, capsys):
    names = np.array(["[/b]", "price[usd]", "$x$ :smile:", "[red]"])[rows["item"] % 4]
    pq.write_table(pa.table({**rows, "[bold]": names}), tmp_path / "[a].parquet")
    assert run(tmp_path / "[a].parquet", "--slice", "[bold]", "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    for word in ("[a].parquet", "by [bold]", "[/b]", "price[usd]", "$x$ :smile:", "[red]"):
        assert word in printed
    page = (tmp_path / "out" / "report.html").read_text()
    assert "$x$ :smile: (" in page, "in the picture the name stands as it is"


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
