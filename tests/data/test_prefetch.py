"""Batches that threads make ahead."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from recsys.data.prefetch import after_all, followed, in_order, prefetch
from tests.data.folders import write_folder
from tests.data.test_loader import loader_of


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("recsys-prefetch")]


def test_the_thread_ends_with_the_iterator(tmp_path):
    iterator = iter(loader_of(write_folder(tmp_path), shuffle_blocks=1))
    next(iterator)
    assert len(prefetch_threads()) == 1
    del iterator
    assert prefetch_threads() == []


def test_prefetch_stays_one_ahead_and_passes_errors_on():
    made = []

    def make(item):
        made.append(item)
        return 1 // item

    results = prefetch(make, [1, 2, 0, 3, 4])
    assert next(results) == 1
    assert made in ([1], [1, 2])
    assert next(results) == 0
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert 4 not in made
    assert prefetch_threads() == []


def test_results_keep_their_order_whichever_thread_is_first():
    later = threading.Event()

    def make(item):
        if item == 0:
            assert later.wait(10)
        if item == 2:
            later.set()
        return item

    found = in_order(lambda threads, item: threads.submit(make, item), range(6), num_threads=2, num_ahead=3)
    assert list(found) == list(range(6))
    assert prefetch_threads() == []


def test_an_error_comes_in_its_turn_and_what_waits_is_given_up():
    started = []

    def make(item):
        started.append(item)
        return 1 // (item - 3)

    found = in_order(lambda threads, item: threads.submit(make, item), range(9), num_threads=2, num_ahead=2)
    assert [next(found) for _ in range(3)] == [-1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert 8 not in started
    assert prefetch_threads() == []


def test_parts_are_joined_in_order_and_the_first_error_is_told():
    with ThreadPoolExecutor(1) as threads:
        assert after_all(threads, lambda item: item * item, [3, 1, 2], sum).result(10) == 14
        failed = after_all(threads, lambda item: 1 // item if item else int("none"), [1, 0, 2], list)
        with pytest.raises(ValueError, match="none"):
            failed.result(10)


def test_what_follows_begins_with_the_result_and_errors_of_both_are_told():
    with ThreadPoolExecutor(1) as threads:

        def begin(value):
            return threads.submit(lambda: 6 // value)

        assert followed(threads.submit(int, "3"), begin).result(10) == 2
        with pytest.raises(ValueError, match="none"):
            followed(threads.submit(int, "none"), begin).result(10)
        with pytest.raises(ZeroDivisionError):
            followed(threads.submit(int, "0"), begin).result(10)
