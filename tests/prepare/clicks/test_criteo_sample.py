"""The generated Criteo file: raw layout, Zipf's law, a signal worth learning."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OneHotEncoder

from recsys.prepare.clicks.criteo_sample import write_sample, zipf_ids
from recsys.prepare.programs import criteo


def test_prepares_and_says_that_it_is_generated(tmp_path, capsys, open_prepared):
    criteo.main(["--sample", "500", "--out", str(tmp_path / "out")])
    assert "GENERATED" in capsys.readouterr().out
    folder = open_prepared(tmp_path / "out")
    assert folder.schema["dataset"] == "criteo_sample"
    lines = (tmp_path / "out" / "raw" / "train.txt").read_text().splitlines()
    assert len(lines) == 500
    assert {line.count("\t") for line in lines} == {39}


def test_a_sample_has_a_place_and_other_rows_are_asked_for_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    criteo.main(["--sample", "50"])
    assert (tmp_path / "data" / "sample" / "schema.json").exists()
    with pytest.raises(SystemExit):
        criteo.main(["--raw", "train.txt"])
    assert "give --out FOLDER" in capsys.readouterr().err


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        write_sample(tmp_path / name, 300, seed)
    first, again, other = ((tmp_path / name).read_bytes() for name in ("first", "again", "other"))
    assert first == again
    assert first != other


def test_ids_follow_zipfs_law():
    counts = np.bincount(zipf_ids(1000, 200_000, np.random.default_rng(0)), minlength=1000)
    assert len(counts) == 1000
    ratios = counts[0] / counts[[1, 3, 7]]
    assert ratios == pytest.approx([np.log(2) / np.log(n) for n in (3 / 2, 5 / 4, 9 / 8)], rel=0.1)


def test_the_signal_is_learnable(tmp_path):
    """A linear model over the first ids alone beats .7; what it cannot see is left to better ones."""
    criteo.main(["--sample", "20000", "--out", str(tmp_path / "out"), "--min-count", "5"])
    names = [f"C{number}" for number in range(1, 27)]
    train, test = (pq.read_table(tmp_path / "out" / split).to_pandas() for split in ("train", "test"))
    encoder = OneHotEncoder(handle_unknown="ignore").fit(train[names])
    model = LogisticRegression(C=0.1, solver="liblinear").fit(encoder.transform(train[names]), train["label"])
    auc = roc_auc_score(test["label"], model.decision_function(encoder.transform(test[names])))
    assert auc > 0.7
    assert 0.15 < train["label"].mean() < 0.4


def test_too_few_rows(tmp_path):
    with pytest.raises(SystemExit, match="--sample must be at least 10 rows, got 3"):
        criteo.main(["--sample", "3", "--out", str(tmp_path / "out")])


def test_raw_or_sample(tmp_path):
    with pytest.raises(SystemExit):
        criteo.main(["--out", str(tmp_path / "out")])
