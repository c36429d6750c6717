"""A row twice is the row with weight 2, and a row of weight 0 is none: in every number of every report."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recsys.evaluation import auc_interval, calibration_error, compare_auc, gauc, roc_points
from recsys.evaluation.calibration import reliability
from recsys.evaluation.click_report import click_report
from recsys.evaluation.ranking_report import ranking_report
from recsys.evaluation.request import Request

CUTS = {"slice": ("device", "tags"), "time": "time"}


@st.composite
def clicks(draw):
    """Rows of clicks, scored by two models, of which some weigh nothing."""
    size = draw(st.integers(6, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = {
        "label": generator.integers(0, 2, size),
        "score": generator.integers(-8, 9, size) / 4,
        "other": generator.integers(-8, 9, size) / 4,
        "weight": generator.integers(0, 4, size),
        "user": generator.integers(0, 6, size),
        "device": generator.integers(0, 3, size),
        "item": generator.integers(0, 5, size),
        "time": generator.integers(0, 20, size),
    }
    counted = rows["weight"][rows["label"] == 1].sum(), rows["weight"][rows["label"] == 0].sum()
    assume(min(counted) > 1)
    return rows


def repeated(rows):
    return {name: np.repeat(values, rows["weight"]) for name, values in rows.items()}


def write(folder, name, rows, score):
    kept = {column: values for column, values in rows.items() if column not in ("score", "other")}
    tags = pa.array([[int(value) % 2, int(value)] for value in rows["item"]]) if "item" in rows else None
    pq.write_table(pa.table({**kept, "score": rows[score], **({} if tags is None else {"tags": tags})}), folder / name)
    return folder / name


def numbers(report):
    """Every number of a report but how many rows a file has."""
    found = {
        (metric.cut, metric.part, metric.name, side): getattr(metric, side)
        for metric in report.metrics
        for side in ("value", "low", "high")
    }
    return found | {(name, key): each for name, of in report.comparison.items() for key, each in asdict(of).items()}


def both(rows, make, **words):
    """The report of weighted rows and that of repeated ones."""
    with tempfile.TemporaryDirectory() as name:
        folder, found = Path(name), []
        for kind, given, weight in (("weighted", rows, "weight"), ("repeated", repeated(rows), "")):
            files = [write(folder, f"{kind}-{score}.parquet", given, score) for score in ("score", "other")]
            counts = folder / "counts.parquet"
            pq.write_table(pa.table({"id": np.arange(5), "count": [9, 9, 3, 1, 0]}), counts)
            if "frequency" in words:
                words["frequency"] = (("item", counts),)
            request = Request((files[0],), against=(files[1],), weight=weight, **words)
            found.append(numbers(make(request)))
    return found


@pytest.fixture(autouse=True, scope="module")
def few_draws_are_enough():
    """Intervals too are to be compared, and drawn examples are small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsys.evaluation.intervals.FEWEST_DRAWS", 2)
        yield


@given(clicks(), st.booleans())
@settings(max_examples=12, deadline=None)
def test_every_number_of_a_report_of_clicks(rows, with_groups):
    words = {**CUTS, "frequency": (), "logits": True, "group": "user" if with_groups else None}
    weighted, expected = both(rows, click_report, **words)
    assert any(np.isfinite(value) for key, value in expected.items() if key[-1] in ("low", "p_value"))
    assert weighted == pytest.approx(expected, rel=1e-6, abs=1e-9, nan_ok=True)


@given(clicks())
@settings(max_examples=25, deadline=None)
def test_the_pictures(rows):
    many = repeated(rows)
    p, q = (1 / (1 + np.exp(-each["score"])) for each in (rows, many))
    np.testing.assert_allclose(
        roc_points(rows["label"], rows["score"], rows["weight"]), roc_points(many["label"], many["score"]), atol=1e-12
    )
    bins, expected = reliability(rows["label"], p, rows["weight"]), reliability(many["label"], q)
    for name in ("predicted", "observed", "weight"):
        np.testing.assert_allclose(getattr(bins, name), getattr(expected, name), atol=1e-12)


@given(clicks())
@settings(max_examples=15, deadline=None)
def test_every_number_of_a_report_of_lists(rows):
    """A query's weight is that of all its rows: queries are repeated under other names."""
    rows["weight"] = rows["weight"][rows["user"]]
    assume((rows["weight"] * rows["label"]).sum() > 1)
    weighted = {**rows, "query": np.array([f"{user}" for user in rows["user"]])}
    copies = [np.flatnonzero(rows["weight"] > copy) for copy in range(3)]
    many = {name: np.concatenate([rows[name][copy] for copy in copies]) for name in ("label", "score", "other")}
    many["query"] = np.concatenate([[f"{rows['user'][row]}-{n}" for row in copy] for n, copy in enumerate(copies)])
    with tempfile.TemporaryDirectory() as name:
        folder, found = Path(name), []
        for kind, given, weight in (("weighted", weighted, "weight"), ("repeated", many, "")):
            given = {column: values for column, values in given.items() if column != "item"}
            files = [write(folder, f"{kind}-{score}.parquet", given, score) for score in ("score", "other")]
            request = Request((files[0],), against=(files[1],), weight=weight, group="query", cutoffs=(1, 3))
            found.append(numbers(ranking_report(request)))
    assert found[0] == pytest.approx(found[1], rel=1e-6, abs=1e-9, nan_ok=True)


@given(clicks(), st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_number_of_a_report_of_sessions(rows, with_groups):
    generator = np.random.default_rng(len(rows["label"]))
    sessions = {name: rows[name] for name in ("weight", "user", "device", "item", "time")}
    sessions |= {"target": rows["item"], "score": rows["score"], "other": rows["other"]}
    size = len(rows["label"])
    ranks = {name: generator.integers(1, 15, size) for name in ("score", "other")}
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, weight in (("weighted", "weight"), ("repeated", "")):
            files = []
            for model, rank in ranks.items():
                table = {**sessions, "rank": rank}
                table = table if weight else {key: np.repeat(each, rows["weight"]) for key, each in table.items()}
                files.append(write(folder, f"{kind}-{model}.parquet", table, model))
            group = "user" if with_groups else None
            request = Request(
                (files[0],), against=(files[1],), weight=weight, group=group, slice=("device",), time="time"
            )
            found.append(numbers(ranking_report(request)))
    assert found[0] == pytest.approx(found[1], rel=1e-6, abs=1e-9, nan_ok=True)


def test_one_case_worked_out():
    """Two rows that outweigh the others: the second model, better on two pairs of four, loses."""
    labels, weights = [0, 1, 0, 1], [1, 1, 9, 9]
    first, second = [0.9, 0.1, 0.2, 0.8], [0.1, 0.9, 0.8, 0.2]
    # Pairs (positive, negative) weigh 1, 9, 9, 81 of 100.
    found = compare_auc(labels, first, second, weights=weights)
    assert found.first == 81 / 100
    assert found.second == (1 + 9 + 9) / 100
    assert found.difference == pytest.approx(-0.62)


@given(clicks())
@settings(max_examples=25, deadline=None)
def test_the_scale_of_weights_does_not_matter_where_they_count_nothing(rows):
    weights = rows["weight"] + 0.5
    groups = rows["user"]
    p = 1 / (1 + np.exp(-rows["score"]))
    for scale in (1e-200, 0.1, 1e200):
        for function, scores in ((auc_interval, rows["score"]), (calibration_error, p)):
            found = [
                function(rows["label"], scores, groups=groups, weights=each) for each in (weights, scale * weights)
            ]
            assert asdict(found[1]) == pytest.approx(asdict(found[0]), rel=1e-6, abs=1e-9, nan_ok=True)
        expected = gauc(rows["label"], rows["score"], groups, weights).value
        assert gauc(rows["label"], rows["score"], groups, scale * weights).value == pytest.approx(expected, nan_ok=True)


def test_weights_that_are_no_counts_need_groups_for_an_interval():
    generator = np.random.default_rng(0)
    labels, scores, weights = generator.random(200) < 0.4, generator.random(200), generator.random(200) + 0.1
    for interval in (
        auc_interval(labels, scores, weights=weights),
        calibration_error(labels, scores, weights=weights),
        compare_auc(labels, scores, scores[::-1], weights=weights),
    ):
        assert np.isnan(interval.low)
    # As groups of their own, rows are drawn, and what they weigh is what they are: the scale of weights is nothing.
    rows = np.arange(200)
    found = auc_interval(labels, scores, groups=rows, weights=weights)
    assert found.low < found.value < found.high
    assert auc_interval(labels, scores, groups=rows, weights=7 * weights).low == pytest.approx(found.low)
