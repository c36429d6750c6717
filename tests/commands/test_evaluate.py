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
from recsys.evaluation import auc, ranking_metrics
from tests.data.test_session_data import write_folder


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
    config = Path(__file__).resolve().parents[2] / "configs" / "criteo_80k.yaml"
    words = ["-c", str(config), f"--data.init_args.path={prepared}", "--trainer.enable_progress_bar=false"]
    fit = [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=1", "--trainer.logger=false"]
    cli = RecsysCLI.launch(["fit", *words, *fit])
    checkpoint = cli.trainer.checkpoint_callback.best_model_path
    (expected,) = cli.trainer.test(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, verbose=False)
    assert run("--ckpt_path", checkpoint, *words, "--slice", "C1", "--out", tmp_path / "out") == 0
    found = values(tmp_path / "out")
    for name in ("auc", "log_loss", "normalised_entropy", "calibration"):
        assert found[name] == expected[f"test/{name}"], f"{name} is that of `lightning test`, to the bit"
    metrics = pq.read_table(tmp_path / "out" / "metrics.parquet").to_pylist()
    counted = {row["part"]: row["num_rows"] for row in metrics if row["cut"] == "C1"}
    stored = pq.read_table(prepared / "test")["C1"].to_pylist()
    assert counted == {str(value): stored.count(value) for value in set(stored)}
    assert run("--ckpt_path", checkpoint, *words, "--slice", "C9") == 2
    assert "no column 'C9'" in capsys.readouterr().err
    assert run("--ckpt_path", tmp_path / "no.ckpt", *words) == 2
    assert "no.ckpt' does not exist" in capsys.readouterr().err
    cli.trainer.predict(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, return_predictions=False)
    alike = ["--slice", "C1", "--against", tmp_path / "predictions.parquet"]
    assert run("--ckpt_path", checkpoint, *words, *alike, "--out", tmp_path / "out") == 0
    assert {of["difference"] for of in compared(tmp_path / "out")[0].values()} == {0.0}
    assert (
        run(tmp_path / "predictions.parquet", "--group", "C2", "--slice", "C1", "tags", "--out", tmp_path / "out") == 0
    )
    assert values(tmp_path / "out")["auc"] == expected["test/auc"]
    assert run("--ckpt_path", checkpoint, *words[:2], "--data.init_args.path", prepared, *words[3:]) == 0


def test_a_checkpoint_of_sessions_is_evaluated_as_it_is_tested(tmp_path, capsys):
    generator = np.random.default_rng(0)
    rows = [(user, generator.integers(1, 9, 6).tolist(), user % 8 + 1) for user in range(40)]
    folder = write_folder(tmp_path / "sessions", {"train": rows, "val": rows[:9], "test": rows[9:]})
    config = Path(__file__).resolve().parents[2] / "configs" / "beauty.yaml"
    words = ["-c", str(config), f"--data.init_args.path={folder}", "--trainer.enable_progress_bar=false"]
    words += ["--data.init_args.filter_seen=false"]
    fit = [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=1", "--trainer.logger=false"]
    cli = RecsysCLI.launch(["fit", *words, *fit])
    checkpoint = cli.trainer.checkpoint_callback.best_model_path
    (expected,) = cli.trainer.test(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, verbose=False)
    cli.trainer.predict(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, return_predictions=False)
    against = ["--against", tmp_path / "predictions.parquet", "--key", "user"]
    assert run("--ckpt_path", checkpoint, *words, *against, "--out", tmp_path / "out") == 0
    found = values(tmp_path / "out")
    assert set(found) == {f"{name}@{k}" for name in ("hr", "ndcg", "mrr") for k in (5, 10, 20)}
    assert found == pytest.approx({name: expected[f"test/{name}"] for name in found}, abs=1e-7)
    assert {of["difference"] for of in compared(tmp_path / "out")[0].values()} == {0.0}
    assert run("--ckpt_path", checkpoint, *words, "--slice", "device") == 2
    assert "predictions have no column 'device'" in capsys.readouterr().err


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
        (lambda rows: rows, ["--confidence", "nan"], "confidence must be in (0, 1), got nan"),
        (lambda rows: rows, ["--memory", "nan"], "--memory must be above 0, got nan"),
        (lambda rows: rows, ["--memory", "0"], "--memory must be above 0, got 0.0"),
        (lambda rows: rows, ["--memory", "1e-5", "--weight", "user"], "streamed rows allow no --weight"),
        (lambda rows: rows, ["--cutoffs", "5"], "--cutoffs 5: only with --ranking"),
        (lambda rows: rows, ["--ranking", "--group", "user", "--cutoffs", "0"], "cutoffs must be at least 1"),
        (lambda rows: rows, ["--ranking", "--group", "user", "--slice", "device"], "allows no --slice"),
        (
            lambda rows: rows,
            ["--ranking", "--group", "user", "--weight", "time"],
            "the query of row 0 has rows of weight",
        ),
        (lambda rows: rows, ["--grop", "user"], "--grop user: only with --ckpt_path; did you mean --group?"),
        (lambda rows: rows, ["--data.path", "data"], "--data.path data: only with --ckpt_path"),
        (lambda rows: rows, ["--key", "time"], "--key time: joins the rows of --against, which is missing"),
        (lambda rows: rows, ["--time", "device"], "p.parquet: column 'device': times must all be numbers"),
        (lambda rows: rows, ["--time", "time", "--slice", "time"], "cut by 'time' twice"),
        (lambda rows: rows | {"logit": rows["score"]}, [], "has columns 'score' and 'logit'; choose by --score"),
        (lambda rows: rows | {"user": [[1]] * 3_000}, ["--group", "user"], "column 'user': holds list"),
        (lambda rows: rows | {"item": rows["item"] + 2.0**60}, ["--slice", "item"], "a float of 2**53 or more"),
        (
            change("time", 4, float("inf")),
            ["--weight", "time"],
            "column 'time', row 4: weights must be finite, got inf",
        ),
        (lambda rows: rows | {"w": rows["time"] * 0}, ["--weight", "w"], "weigh 0 in all"),
        (lambda rows: rows | {"w": rows["label"]}, ["--weight", "w"], "the rows of one label weigh 0 in all"),
        (lambda rows: {"target": [1], "rank": [2]}, [], "rows have targets of sessions and no labels; give --ranking"),
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


def second(rows, folder, order=None, **changes):
    """The rows of a second model, in another order."""
    noise = np.random.default_rng(1).random(3_000)
    columns = {**rows, "score": (rows["score"] + noise) / 2, **changes}
    order = np.arange(3_000) if order is None else order
    pq.write_table(pa.table({name: values[order] for name, values in columns.items()}), folder / "b.parquet")
    return folder / "b.parquet"


def compared(folder):
    report = json.loads((folder / "metrics.json").read_text())
    return report["comparison"], " ".join(report["notes"])


def test_rows_are_paired_as_they_stand_only_where_all_that_they_share_is_equal(predictions, rows, tmp_path, capsys):
    by_label = np.argsort(rows["label"], kind="stable")
    for order, changes, message in (
        (np.arange(1, 3_000), {}, "not of the same rows: 3,000 and 2,999 rows; join them by --key"),
        (by_label, {}, "column 'user' differs in"),
        (None, {"device": rows["device"][::-1]}, "column 'device' differs in"),
        (None, {"label": 1 - rows["label"]}, "3,000 of 3,000 have another label"),
    ):
        assert run(predictions, "--against", second(rows, tmp_path, order, **changes), "--group", "user") == 2
        assert message in capsys.readouterr().err
    without = {name: rows[name] for name in ("label", "score")}
    assert run(predictions, "--against", second(without, tmp_path), "--group", "user") == 2
    assert "no column 'user' to see whether its rows are those of" in capsys.readouterr().err
    assert run(predictions, "--against", second(without, tmp_path), "--out", tmp_path / "out") == 0
    assert "beside the labels the files share no column" in compared(tmp_path / "out")[1]


def test_rows_are_joined_by_a_key_and_what_is_lost_is_said(predictions, rows, tmp_path, capsys):
    words = ["--group", "user", "--out", tmp_path / "out"]
    assert run(predictions, "--against", second(rows, tmp_path), *words) == 0
    expected, note = compared(tmp_path / "out")
    assert "all columns of both are equal ('user', 'item', 'device', 'time')" in note
    shuffled = second(rows, tmp_path, np.argsort(rows["label"], kind="stable"))
    for key in (["time"], ["time", "user"]):
        assert run(predictions, "--against", shuffled, "--key", *key, *words) == 0
        found, note = compared(tmp_path / "out")
        assert "Compared on 3,000 rows joined by 'time'" in note
        assert "left out" not in note
        for name, values in expected.items():
            assert found[name] == pytest.approx(values), name
    assert run(predictions, "--against", second(rows, tmp_path, np.arange(2_990)), "--key", "time", *words) == 0
    assert "left out: 10 only in the first file, 0 only in the second" in compared(tmp_path / "out")[1]
    texts = {"time": np.array([f"{value}" for value in rows["time"]])}
    assert run(predictions, "--against", second(rows, tmp_path, **texts), "--key", "time", *words) == 0
    assert "joined by 'time'." in compared(tmp_path / "out")[1]
    capsys.readouterr()
    for changes, key, message in (
        ({}, "user", "must tell one row from all others; '"),
        ({"time": rows["time"] + 9_000}, "time", "no row of the second file has the 'time' of one of the first"),
        ({"time": np.array([None, *rows["time"][1:]])}, "time", "b.parquet, column 'time', row 0: the key is missing"),
        ({"label": 1 - rows["label"]}, "time", "3,000 of 3,000 have another label"),
    ):
        assert run(predictions, "--against", second(rows, tmp_path, **changes), "--key", key) == 2
        assert message in capsys.readouterr().err


def test_weights_of_the_first_model_are_those_of_both(rows, tmp_path, capsys):
    weights = rows["item"] % 3
    pq.write_table(pa.table({**rows, "w": weights}), tmp_path / "a.parquet")
    words = [tmp_path / "a.parquet", "--weight", "w", "--out", tmp_path / "out", "--against"]
    assert run(*words, second(rows, tmp_path)) == 0
    without, _ = compared(tmp_path / "out")
    assert run(*words, second({**rows, "w": weights}, tmp_path)) == 0
    assert compared(tmp_path / "out")[0] == without
    expected = auc(rows["label"], (rows["score"] + np.random.default_rng(1).random(3_000)) / 2, weights)
    assert without["auc"]["second"] == expected
    capsys.readouterr()
    assert run(*words, second({**rows, "w": weights + 1}, tmp_path)) == 2
    assert "another weight" in capsys.readouterr().err


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


@pytest.fixture
def sessions(tmp_path):
    """Ranks of targets by two models, as `lightning predict` writes them, and the lists of the first."""
    generator = np.random.default_rng(7)
    ranks = generator.integers(1, 30, (2, 300))
    users, targets = np.arange(300) // 2, generator.integers(1, 50, 300)
    for name, rank in zip("ab", ranks, strict=True):
        table = {"user": users, "target": targets, "rank": rank, "row": np.arange(300)}
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    lists = [
        [target if place == rank else 100 + place for place in range(1, 13)]
        for rank, target in zip(ranks[0], targets, strict=True)
    ]
    scores = [[-float(place) for place in range(1, 13)]] * 300
    pq.write_table(
        pa.table({"user": users, "target": targets, "items": lists, "scores": scores}), tmp_path / "l.parquet"
    )
    return tmp_path, ranks


def test_sessions_are_ranked_compared_and_sliced(sessions, capsys):
    folder, ranks = sessions
    counts = folder / "counts.parquet"
    pq.write_table(pa.table({"id": np.arange(40), "count": np.arange(40)[::-1]}), counts)
    words = ["--ranking", "--frequency", f"target={counts}", "--out", folder / "out"]
    assert run(folder / "a.parquet", *words, "--against", folder / "b.parquet") == 0
    for side, rank in (("first", ranks[0]), ("second", ranks[1])):
        expected = ranking_metrics(rank, (5, 10, 20))
        assert {name: of[side] for name, of in compared(folder / "out")[0].items()} == pytest.approx(expected)
    assert values(folder / "out") == pytest.approx(ranking_metrics(ranks[0], (5, 10, 20)))
    targets = pq.read_table(folder / "a.parquet")["target"].to_numpy()
    unseen = ranking_metrics(ranks[0][targets >= 39], [10])
    assert values(folder / "out", "frequency of target", "unseen") == pytest.approx(
        {name: unseen[name] for name in ("hr@10", "ndcg@10")}
    )
    alone, by_user = (_ndcg(folder, words) for words in ([], ["--group", "user"]))
    assert alone["value"] == pytest.approx(by_user["value"])
    assert alone["low"] != pytest.approx(by_user["low"])


def _ndcg(folder, words):
    assert run(folder / "a.parquet", "--ranking", "--out", folder / "out", *words) == 0
    metrics = json.loads((folder / "out" / "metrics.json").read_text())["metrics"]
    return next(metric for metric in metrics if metric["name"] == "ndcg@10")


def test_lists_of_sessions_are_ranked_as_far_as_they_reach(sessions, capsys):
    folder, ranks = sessions
    assert run(folder / "l.parquet", "--ranking", "--out", folder / "out") == 0
    assert values(folder / "out") == pytest.approx(ranking_metrics(ranks[0], (5, 10)))
    assert run(folder / "l.parquet", "--ranking", "--cutoffs", 20) == 2
    assert "--cutoffs 20: the lists hold 12 items" in capsys.readouterr().err
    tied = pa.table(
        {"target": [3, 3], "items": [[1, 2, 3, 4]] * 2, "scores": [[4.0, 3.0, 3.0, 3.0], [4.0, 3.0, 3.0, 1.0]]}
    )
    pq.write_table(tied, folder / "tied.parquet")
    assert run(folder / "tied.parquet", "--ranking", "--cutoffs", 3, "--out", folder / "out") == 0
    assert values(folder / "out")["hr@3"] == 0.5, "an item that ties with the target stands above it"


def test_sessions_of_two_files_are_those_of_the_same_users(sessions, capsys):
    folder, _ = sessions
    backwards = pq.read_table(folder / "b.parquet").take(np.arange(300)[::-1])
    pq.write_table(backwards, folder / "c.parquet")
    assert run(folder / "a.parquet", "--ranking", "--against", folder / "b.parquet", "--out", folder / "out") == 0
    expected, _ = compared(folder / "out")
    assert run(folder / "a.parquet", "--ranking", "--against", folder / "c.parquet") == 2
    assert "column 'user' differs in 300 rows" in capsys.readouterr().err
    words = ["--ranking", "--against", folder / "c.parquet", "--out", folder / "out", "--key"]
    assert run(folder / "a.parquet", *words, "user") == 2
    assert "--key user must tell one row from all others" in capsys.readouterr().err
    assert run(folder / "a.parquet", *words, "row") == 0
    found, _ = compared(folder / "out")
    assert all(found[name] == pytest.approx(each) for name, each in expected.items())


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
