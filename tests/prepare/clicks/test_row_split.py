"""The three ways to split rows."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.prepare.clicks.raw_dataset import Rows
from recsys.prepare.clicks.row_split import SplitRule, assign_splits, uniform
from recsys.prepare.clicks.row_store import RowStore


def make_store(folder, days: list[list[int]]) -> RowStore:
    store = RowStore(folder / "scratch", [])
    for block in days:
        store.append(Rows(np.zeros(len(block), np.uint8), (), (), days=np.array(block, dtype=np.int32)), [])
    return store


def splits_of(store: RowStore) -> list[int]:
    return np.concatenate([store.splits.read(block) for block in range(store.num_blocks)]).tolist()


def test_by_rows(tmp_path):
    store = make_store(tmp_path, [[0] * 7, [0] * 13])
    assign_splits(SplitRule("rows", (0.6, 0.3, 0.1)), store)
    assert splits_of(store) == [0] * 12 + [1] * 6 + [2] * 2


def test_random_draws_do_not_depend_on_blocks_and_do_on_the_seed():
    whole = uniform(0, 0, 1000)
    assert np.array_equal(whole, np.concatenate([uniform(0, 0, 17), uniform(0, 17, 500), uniform(0, 500, 1000)]))
    assert not np.isclose(whole, uniform(1, 0, 1000)).any()


def test_random_draws_are_uniform_and_independent():
    draws = uniform(7, 0, 200_000)
    assert np.histogram(draws, bins=10, range=(0, 1))[0] == pytest.approx(20_000, rel=0.03)
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(draws, uniform(8, 0, 200_000))[0, 1]) < 0.01


def test_random_fractions(tmp_path):
    store = make_store(tmp_path, [[0] * 30_000, [0] * 20_000])
    assign_splits(SplitRule("random", (0.7, 0.2, 0.1), seed=5), store)
    assert np.bincount(splits_of(store)) == pytest.approx([35_000, 10_000, 5_000], rel=0.03)


def test_by_day_takes_whole_days_in_time_order(tmp_path):
    store = make_store(tmp_path, [[9, 3, 4, 5], [1, 2, 6, 7], [8, 10]])
    assign_splits(SplitRule("day", (0.8, 0.1, 0.1)), store)
    assert splits_of(store) == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]


@pytest.mark.parametrize(
    ("days", "fractions", "expected"),
    [
        ([1, 2, 3], (0.8, 0.1, 0.1), [0, 1, 2]),
        ([1, 1, 1, 1, 2, 3], (0.1, 0.1, 0.8), [0, 0, 0, 0, 1, 2]),
        ([1, 2, 3, 4], (0.5, 0.5, 0), [0, 0, 1, 1]),
        ([1, 2, 2, 2, 2, 2], (0.5, 0, 0.5), [0, 2, 2, 2, 2, 2]),
        ([4], (1, 0, 0), [0]),
    ],
)
def test_by_day_every_split_that_is_to_have_rows_has_a_day(tmp_path, days, fractions, expected):
    store = make_store(tmp_path, [days])
    assign_splits(SplitRule("day", fractions), store)
    assert splits_of(store) == expected


def test_too_few_days(tmp_path):
    store = make_store(tmp_path, [[1, 1, 2, 2]])
    with pytest.raises(ValueError, match=r"the rows are of 2 day\(s\), too few for the splits; use --split random"):
        assign_splits(SplitRule("day", (0.5, 0.1, 0.4)), store)
