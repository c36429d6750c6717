"""Sequences, cores, sessions and splits against the slow way."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.prepare.sessions.filter import FilterRule, flat
from recsys.prepare.sessions.splits import SplitRule

EVENTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 30)), min_size=1, max_size=60)


def slow_sequences(events, least_items, least_length):
    """Lists of (item, time) by user in order of appearance, filtered until nothing changes."""
    order = list(dict.fromkeys(user for user, _, _ in events))
    found = {user: sorted(((i, t) for u, i, t in events if u == user), key=lambda event: event[1]) for user in order}
    while True:
        counts = {}
        for event in (event for sequence in found.values() for event in sequence):
            counts[event[0]] = counts.get(event[0], 0) + 1
        kept = {user: [e for e in sequence if counts[e[0]] >= least_items] for user, sequence in found.items()}
        kept = {user: sequence for user, sequence in kept.items() if sequence and len(sequence) >= least_length}
        if kept == found:
            return list(kept.values())
        found = kept


@settings(deadline=None, max_examples=60)
@given(EVENTS, st.integers(1, 4), st.integers(1, 3))
def test_order_and_cores_equal_the_slow_way(events, least_items, least_length):
    frame = pl.DataFrame(events, schema=["user", "item", "time"], orient="row")
    expected = slow_sequences(events, least_items, least_length)
    rule = FilterRule(min_item_count=least_items, min_length=least_length)
    if not expected:
        with pytest.raises(ValueError, match="no event is left"):
            rule.apply(frame)
        return
    kept = rule.apply(frame)
    offsets = flat(kept).offsets
    pairs = list(zip(kept["item"].to_list(), kept["time"].to_list(), strict=True))
    assert [pairs[a:b] for a, b in pairwise(offsets)] == expected


@settings(deadline=None, max_examples=60)
@given(EVENTS, st.floats(0.1, 20))
def test_sessions_end_where_users_pause(events, gap):
    frame = pl.DataFrame([(u, i, 60_000_000 * t) for u, i, t in events], schema=["user", "item", "time"], orient="row")
    kept = FilterRule(gap_minutes=gap).apply(frame)
    rows = kept.select("user", "time", "sequence").rows()
    for before, after in pairwise(rows):
        same = before[0] == after[0] and after[1] - before[1] <= gap * 60_000_000
        assert (before[2] == after[2]) == same


def slow_time_split(sequences, low, high, every):
    """By period of each event: train prefixes, and (history, target) of val and test."""
    train = [tuple(e for e in s if e[1] < low) for s in sequences]
    held = []
    for begin, end in ((low, high), (high, np.inf)):
        places = [[p for p in range(1, len(s)) if begin <= s[p][1] < end] for s in sequences]
        chosen = [(s, p) for s, ps in zip(sequences, places, strict=True) for p in (ps if every else ps[-1:])]
        held.append([(tuple(s[:p]), s[p]) for s, p in chosen])
    return [t for t in train if t], *held


@pytest.mark.parametrize(("val", "test", "expected"), [(0.1, 0.1, [80, 10, 10]), (0.2, 0.2, [60, 20, 20])])
def test_split_sizes_are_exact(val, test, expected):
    events = pl.DataFrame({"user": np.repeat(np.arange(100), 2), "item": 1, "time": np.arange(200)})
    for by, scale in (("sequences", 1), ("time", 2)):
        splits = SplitRule(by, "every", val, test).rows(flat(FilterRule().apply(events)))
        sizes = [len(splits["train"].start), *(len(splits[name].target) for name in ("val", "test"))]
        assert sizes == expected, scale
    with pytest.raises(ValueError, match="all events have one time; use --split leave-one-out, or random"):
        SplitRule("time", "every").rows(flat(FilterRule().apply(events.with_columns(time=7))))


@settings(deadline=None, max_examples=80)
@given(EVENTS, st.booleans())
def test_split_by_time_equals_the_slow_way(events, every):
    frame = FilterRule().apply(pl.DataFrame(events, schema=["user", "item", "time"], orient="row"))
    sequences = slow_sequences(events, 1, 1)
    times = sorted(time for _, _, time in events)
    if times[0] == times[-1]:
        return
    num_test = num_val = round(len(times) / 4)
    last_train, last_val = (times[max(n, 1) - 1] for n in (len(times) - num_test - num_val, len(times) - num_test))
    low, high = last_train + 1, last_val + 1
    expected = slow_time_split(sequences, low, high, every)
    rule = SplitRule("time", "every" if every else "last", 0.25, 0.25)
    if not all(expected):
        with pytest.raises(ValueError, match="leaves no row"):
            rule.rows(flat(frame))
        return
    pairs = list(zip(frame["item"].to_list(), frame["time"].to_list(), strict=True))
    splits = rule.rows(flat(frame))
    train = splits["train"]
    assert [tuple(pairs[a:b]) for a, b in zip(train.start, train.stop, strict=True)] == expected[0]
    for name, wanted in zip(("val", "test"), expected[1:], strict=True):
        rows = splits[name]
        found = [(tuple(pairs[a:b]), pairs[t]) for a, b, t in zip(rows.start, rows.stop, rows.target, strict=True)]
        assert found == wanted
