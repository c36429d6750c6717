"""Predictions of next items: ranked, compared and sliced."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.evaluation import ranking_metrics
from tests.commands.evaluations import compared, run, values


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


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"items": [[9, 9, 1], [3, 1, 2]], "scores": [[0.5, 0.4, 0.3]] * 2}, "row 0: an item stands in the list twice"),
        ({"items": [["b", "a"], ["a", "a"]], "target": ["a", "a"]}, "row 1: an item stands in the list twice"),
        ({"items": [[3, 2], [3, 1]], "scores": [[float("inf"), 0.4]] * 2}, "row 0: a score is NaN or infinite"),
    ],
)
def test_lists_that_rank_nothing(tmp_path, capsys, lists, message):
    pq.write_table(pa.table({"target": [9, 3], **lists}), tmp_path / "l.parquet")
    assert run(tmp_path / "l.parquet", "--ranking", "--cutoffs", 1) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"rank": [True, True]}, "column 'rank': must be numbers, got bool"),
        ({"rank": [1.5, 2.0]}, "column 'rank', row 0: ranks are whole numbers from 1, got 1.5"),
        ({"rank": [1, 0]}, "column 'rank', row 1: ranks are whole numbers from 1, got 0"),
        ({"rank": [1, 2], "target": [9, None]}, "column 'target', row 1: the target is missing"),
    ],
)
def test_ranks_that_rank_nothing(tmp_path, capsys, columns, message):
    pq.write_table(pa.table({"target": [9, 3], **columns}), tmp_path / "r.parquet")
    assert run(tmp_path / "r.parquet", "--ranking") == 2
    assert message in capsys.readouterr().err


def test_lists_are_filled_with_0(tmp_path):
    """As `lightning predict` does where few items are left."""
    lists = {"items": [[3, 0, 0], [1, 3, 0]], "scores": [[1.0, -np.inf, -np.inf], [1.0, 0.5, -np.inf]]}
    pq.write_table(pa.table({"target": [3, 3], **lists}), tmp_path / "l.parquet")
    assert run(tmp_path / "l.parquet", "--ranking", "--cutoffs", 1, 2, "--out", tmp_path / "out") == 0
    assert values(tmp_path / "out")["hr@1"] == 0.5
    assert values(tmp_path / "out")["hr@2"] == 1.0


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
