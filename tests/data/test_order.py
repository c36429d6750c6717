from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.order import RowOrder, count, cut, overlaps, share

group_rows = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def order_of(rows, seed=0, shuffle=True, shuffle_blocks=1):
    return RowOrder(rows, seed=seed, shuffle=shuffle, shuffle_blocks=shuffle_blocks)


def stored_numbers(order, epoch):
    """The whole epoch, row by row: the number each row has among the stored ones."""
    first = np.cumsum([0, *order.group_rows])
    numbers = []
    for window in order.windows(epoch):
        held = np.concatenate([np.arange(first[group], first[group + 1]) for group in window.groups])
        numbers += held[order.rows(epoch, window, 0, window.num_rows)].tolist()
    return numbers


@given(group_rows, st.integers(0, 2**32), st.integers(0, 50), st.integers(1, 5))
def test_an_epoch_has_every_row_once_and_is_a_function_of_the_seed(rows, seed, epoch, shuffle_blocks):
    order = order_of(rows, seed, shuffle_blocks=shuffle_blocks)
    numbers = stored_numbers(order, epoch)
    assert sorted(numbers) == list(range(sum(rows)))
    assert numbers == stored_numbers(order_of(rows, seed, shuffle_blocks=shuffle_blocks), epoch)


@given(group_rows, st.integers(0, 50))
def test_without_shuffling_the_order_is_the_stored_one(rows, epoch):
    assert stored_numbers(order_of(rows, shuffle=False, shuffle_blocks=3), epoch) == list(range(sum(rows)))


def test_epochs_and_seeds_differ():
    orders = [stored_numbers(order_of([50] * 4, seed), epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_shuffle_blocks_mixes_rows_of_several_groups():
    numbers = np.array(stored_numbers(order_of([100] * 6, shuffle_blocks=3), epoch=0))
    groups = numbers.reshape(2, 300) // 100
    for window in groups:
        assert len(np.unique(window)) == 3
        assert len(np.unique(window[:100])) == 3


def test_row_groups_come_in_every_order():
    first_groups = {order_of([1] * 4, seed).windows(0)[0].groups[0] for seed in range(100)}
    assert first_groups == {0, 1, 2, 3}


@st.composite
def some_intervals(draw):
    ends = sorted(draw(st.sets(st.integers(0, 60), max_size=8)))
    return list(zip(ends[::2], ends[1::2], strict=False))


def spread(intervals):
    return [row for start, stop in intervals for row in range(start, stop)]


@given(some_intervals(), st.integers(0, 70), st.integers(0, 70))
def test_cut_is_a_slice_of_the_rows(intervals, start, stop):
    assert spread(cut(intervals, start, stop)) == spread(intervals)[start:stop]
    assert count(intervals) == len(spread(intervals))


@given(some_intervals(), st.integers(1, 9))
def test_shares_are_the_rows_in_order_and_differ_by_one_at_most(intervals, num_ranks):
    shares = [spread(share(intervals, rank, num_ranks)) for rank in range(num_ranks)]
    assert list(chain.from_iterable(shares)) == spread(intervals)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(group_rows, some_intervals())
def test_overlaps_are_the_wanted_rows_of_each_window(rows, intervals):
    windows = order_of(rows, shuffle_blocks=2).windows(0)
    found = [(window.start + start, window.start + stop) for window, start, stop in overlaps(windows, intervals)]
    assert spread(found) == [row for row in spread(intervals) if row < sum(rows)]


@pytest.mark.parametrize(("argument", "value"), [("seed", -1), ("shuffle_blocks", 0)])
def test_bad_arguments_are_named(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must .* got {value}"):
        order_of([1], **{argument: value})
