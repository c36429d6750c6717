"""Further seeds go to the contenders that validation puts near the best, and to no others."""

from dataclasses import asdict

import pytest

from recsys.comparison import RunStore
from recsys.comparison.near_best import all_runs, near_best
from recsys.comparison.results import missing, run_rows, summarize
from recsys.comparison.spec import Comparison, Contender, NearBest
from recsys.comparison.store import Result, write_whole

VALIDATION = {("half", "a"): 0.80, ("half", "b"): 0.801, ("half", "c"): 0.79, ("tenth", "a"): 0.70, ("tenth", "b"): 0.6}


@pytest.fixture
def comparison(tmp_path):
    (tmp_path / "schema.json").write_text("{}")
    contenders = tuple(
        Contender(f"{size}, {table}", ({"of": [size, table]},), labels={"size": size, "table": table})
        for size, table in VALIDATION
    )

    def make(near=None, mode="max", seeds=(0,)):
        return Comparison("sizes", (), tmp_path, "auc", mode, seeds, contenders, near_best=near)

    return make


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "store")


def finish(store, runs, sign=1):
    for run in runs:
        value = sign * VALIDATION[tuple(run.contender.split(", "))] + run.seed / 1e6
        result = Result(run.contender, run.seed, value, {"auc": 1 - value}, 8, 24, 1.0, 1, 1.0)
        write_whole(store.begin(run) / "result.json", asdict(result))


def names(contenders):
    return [contender.name for contender in contenders]


def test_each_label_of_the_axis_has_its_own_best(comparison, store):
    compared = comparison(NearBest("size", 0.0015, (1, 2)))
    assert all_runs(compared, store) == compared.runs(), "nothing has run that could be near"
    finish(store, compared.runs())
    assert names(near_best(compared, store)) == ["half, a", "half, b", "tenth, a"]
    assert [(run.contender, run.seed) for run in all_runs(compared, store)[5:]] == [
        ("half, a", 1), ("half, b", 1), ("tenth, a", 1), ("half, a", 2), ("half, b", 2), ("tenth, a", 2)
    ]  # fmt: skip


def test_without_an_axis_one_is_the_best_of_all(comparison, store):
    compared = comparison(NearBest("", 0.0005, (1,)))
    finish(store, compared.runs())
    assert names(near_best(compared, store)) == ["half, b"]


def test_where_less_is_better_the_least_is_best(comparison, store):
    compared = comparison(NearBest("size", 0.0015, (1,)), mode="min")
    finish(store, compared.runs(), sign=-1)
    assert names(near_best(compared, store)) == ["half, a", "half, b", "tenth, a"]


def test_a_contender_without_all_first_seeds_is_not_yet_near(comparison, store):
    compared = comparison(NearBest("size", 1.0, (2,)), seeds=(0, 1))
    finish(store, compared.runs()[:7])
    assert names(near_best(compared, store)) == ["half, a", "half, b"]


def test_further_seeds_count_in_every_table(comparison, store):
    compared = comparison(NearBest("size", 0.0015, (1,)))
    finish(store, compared.runs())
    assert missing(compared, store) == ["half, a, seed 1", "half, b, seed 1", "tenth, a, seed 1"]
    finish(store, all_runs(compared, store))
    assert missing(compared, store) == []
    assert {s.contender: s.num_seeds for s in summarize(compared, store)} == {
        "half, a": 2, "half, b": 2, "half, c": 1, "tenth, a": 2, "tenth, b": 1
    }  # fmt: skip
    assert len(run_rows(compared, store)) == 8


def test_without_further_seeds_nothing_is_near(comparison, store):
    compared = comparison()
    finish(store, compared.runs())
    assert near_best(compared, store) == []
    assert all_runs(compared, store) == compared.runs()
