"""Two models on the same rows: paired as they stand, or by a key."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.evaluation import auc
from tests.commands.evaluations import compared, run, second


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
