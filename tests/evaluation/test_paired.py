"""Comparisons of two models where rows come in groups: clustered AUC, GAUC, ranking metrics of queries."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.cli import main
from recsys.evaluation import auc_interval, compare_auc, gauc, list_metrics


def width(interval):
    return interval.high - interval.low


def users(seed, num_users=120, num_rows=10):
    """Rows whose two scores carry noise of the user that is the same in all of the user's rows."""
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(num_users), num_rows)
    taste = generator.normal(size=num_users)[groups]
    labels = (generator.random(len(groups)) < 1 / (1 + np.exp(-5 * taste))).astype(int)
    noises = [generator.normal(size=num_users)[groups] + generator.normal(size=len(groups)) for _ in range(2)]
    scores = [0.5 * labels + taste + noise for noise in noises]
    return labels, *scores, groups


def test_with_one_row_a_group_the_clustered_variance_is_delongs():
    labels, first, second, _ = users(0)
    groups = np.random.default_rng(1).permutation(len(labels))
    # Student's quantile with 1,199 degrees of freedom is a thousandth above the normal one.
    assert auc_interval(labels, first, groups=groups).low == pytest.approx(auc_interval(labels, first).low, abs=1e-4)
    clustered, plain = compare_auc(labels, first, second, groups=groups), compare_auc(labels, first, second)
    assert width(clustered) == pytest.approx(width(plain), rel=2e-3)
    assert clustered.p_value == pytest.approx(plain.p_value, rel=1e-2)


def test_rows_given_five_times_over_tell_nothing_new():
    labels, first, second, _ = users(2)
    groups = np.tile(np.arange(len(labels)), 5)
    again = [np.tile(values, 5) for values in (labels, first, second)]
    assert width(compare_auc(*again, groups=groups)) == pytest.approx(
        width(compare_auc(labels, first, second)), rel=1e-2
    )
    assert width(compare_auc(*again)) < 0.5 * width(compare_auc(labels, first, second))
    assert width(auc_interval(*again[:2], groups=groups)) == pytest.approx(width(auc_interval(labels, first)), rel=1e-2)


def test_clustered_p_values_are_uniform_without_a_difference():
    found = [(compare_auc(*rows[:3], groups=rows[3]), compare_auc(*rows[:3])) for rows in map(users, range(200))]
    small = np.mean([(clustered.p_value < 0.1, plain.p_value < 0.1) for clustered, plain in found], axis=0)
    assert 0.05 <= small[0] <= 0.17
    assert small[1] > 0.3, "rows taken as independent find differences that are not there"


def test_one_group_has_no_interval():
    labels, first, second, groups = users(3)
    assert np.isnan(auc_interval(labels, first, groups=np.zeros_like(groups)).low)
    assert np.isnan(compare_auc(labels, first, second, groups=np.zeros_like(groups)).p_value)
    with pytest.raises(ValueError, match=r"groups must have shape \[1200\], got \[3\]"):
        auc_interval(labels, first, groups=[1, 2, 3])


def run(folder, first, second, *words):
    for name, rows in (("a", first), ("b", second)):
        pq.write_table(pa.table(rows), folder / f"{name}.parquet")
    command = ["evaluate", folder / "a.parquet", "--against", folder / "b.parquet", *words, "--out", folder / "out"]
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in command])
    return stop.value.code


def report(folder):
    return json.loads((folder / "out" / "metrics.json").read_text())


def test_two_files_with_groups_are_compared_by_group(tmp_path):
    labels, first, second, groups = users(4)
    rows = {"label": labels, "score": first, "user": groups}
    better = second + 0.5 * labels
    assert run(tmp_path, rows, rows | {"score": better}, "--logits", "--group", "user") == 0
    found = report(tmp_path)
    assert found["comparison"]["auc"]["low"] == pytest.approx(compare_auc(labels, first, better, groups=groups).low)
    expected = [gauc(labels, scores, groups).value for scores in (first, better)]
    compared = found["comparison"]["gauc"]
    assert [compared["first"], compared["second"]] == pytest.approx(expected)
    assert compared["low"] > 0
    assert compared["p_value"] < 0.01
    assert "DeLong clustered by group for AUC (Obuchowski, 1997)" in found["notes"][0]
    assert run(tmp_path, rows, rows, "--logits") == 0
    assert "rows taken as independent" in report(tmp_path)["notes"][0]
    assert "gauc" not in report(tmp_path)["comparison"]


@pytest.fixture
def lists():
    generator = np.random.default_rng(5)
    queries = np.repeat(np.arange(80), 12)
    labels = (np.arange(960) % 12 == 0).astype(int)
    scores = generator.normal(size=960) + labels
    return {"query": np.array([f"q{query}" for query in queries]), "label": labels, "score": scores}


def test_ranking_files_are_compared_by_query(lists, tmp_path):
    # The second model lists other items in another order.
    order = np.random.default_rng(6).permutation(960)[:900]
    order = np.union1d(order, np.flatnonzero(lists["label"]))[::-1]
    second = {name: values[order] for name, values in lists.items()}
    second["score"] = second["score"] + 1.5 * second["label"]
    words = ["--ranking", "--group", "query", "--cutoffs", 3]
    assert run(tmp_path, lists, second, *words) == 0
    found = report(tmp_path)["comparison"]
    assert set(found) == {"hr@3", "recall@3", "ndcg@3", "mrr@3"}
    for side, rows in (("first", lists), ("second", second)):
        values = list_metrics(rows["label"], rows["score"], rows["query"], [3]).values
        assert found["ndcg@3"][side] == pytest.approx(values["ndcg@3"].mean())
    assert found["ndcg@3"]["low"] > 0
    assert found["ndcg@3"]["p_value"] < 0.01
    assert "linearised over queries" in report(tmp_path)["notes"][0]
    assert run(tmp_path, lists, lists, *words) == 0
    assert report(tmp_path)["comparison"]["hr@3"]["p_value"] == 1.0


def test_ranking_files_of_other_queries_are_refused(lists, tmp_path, capsys):
    words = ["--ranking", "--group", "query"]
    without = {name: values[1:] for name, values in lists.items()}
    assert run(tmp_path, lists, without, *words) == 2
    assert "1 with a relevant item are only in the first, 0 only in the second" in capsys.readouterr().err
    more = lists | {"label": np.where(np.arange(960) == 1, 1, lists["label"])}
    assert run(tmp_path, lists, more, *words) == 2
    assert "1 of them have more relevant items in one than in the other" in capsys.readouterr().err
