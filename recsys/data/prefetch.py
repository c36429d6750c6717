"""Background threads that stay ahead of whoever takes their results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
Result = TypeVar("Result")


def prefetch(make: Callable[[T], Result], items: Iterable[T]) -> Iterator[Result]:
    """make(item) of each item, in order, the next one being made while the caller works on the last one.

    Holds two results at most. An exception of `make` is raised here; the thread ends with the iterator.
    """
    return in_order(lambda threads, item: threads.submit(make, item), items, num_threads=1, num_ahead=1)


def in_order(
    begin: Callable[[ThreadPoolExecutor, T], Future[Result]], items: Iterable[T], *, num_threads: int, num_ahead: int
) -> Iterator[Result]:
    """What was begun for each item, in the order of the items, whichever thread is done first.

    Tasks start in the order in which they are submitted, so that a task may wait for those that `begin` submitted
    before it. An exception is raised here, in its turn; the threads end with the iterator.

    Args:
        begin: submits an item's tasks to the threads, and returns the one that has the result.
        items: read in this thread.
        num_threads: that work.
        num_ahead: items begun beside the one that the caller works on.
    """
    threads = ThreadPoolExecutor(num_threads, thread_name_prefix="recsys-prefetch")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(begin(threads, item))
            if len(waiting) > num_ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)
