"""Background threads that stay ahead of whoever takes their results."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
Result = TypeVar("Result")
Joined = TypeVar("Joined")


def prefetch(make: Callable[[T], Result], items: Iterable[T]) -> Iterator[Result]:
    """make(item) of each item, in order, the next one being made while the caller works on the last one.

    Holds two results at most. An exception of `make` is raised here; the thread ends with the iterator.
    """
    return in_order(lambda threads, item: threads.submit(make, item), items, num_threads=1, num_ahead=1)


def in_order(
    begin: Callable[[ThreadPoolExecutor, T], Future[Result]], items: Iterable[T], *, num_threads: int, num_ahead: int
) -> Iterator[Result]:
    """What was begun for each item, in the order of the items, whichever thread is done first.

    An exception is raised here, in its turn; the threads end with the iterator. No task may wait for another.

    Args:
        begin: submits an item's tasks to the threads, and returns what will have the result.
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


def after_all(
    threads: ThreadPoolExecutor, make: Callable[[T], Result], items: Sequence[T], join: Callable[[list[Result]], Joined]
) -> Future[Joined]:
    """join([make(item) of each item]), each item a task of its own; the thread that is done last joins, none waits.

    Of several exceptions the first item's is raised.
    """
    joined: Future[Joined] = Future()
    made: list[Future[Result]] = [Future() for _ in items]
    left, lock = len(items), threading.Lock()

    def work(item: T, result: Future[Result]) -> None:
        nonlocal left
        _settle(result, lambda: make(item))
        with lock:
            left -= 1
            is_last = left == 0
        if is_last:
            _settle(joined, lambda: join([each.result() for each in made]))

    for item, result in zip(items, made, strict=True):
        threads.submit(work, item, result)
    return joined


def followed(first: Future[T], begin: Callable[[T], Future[Result]]) -> Future[Result]:
    """What is begun with the result of the first, once that is there; an exception of either is raised here."""
    last: Future[Result] = Future()

    def go_on(done: Future[T]) -> None:
        try:
            begin(done.result()).add_done_callback(lambda begun: _settle(last, begun.result))
        except BaseException as error:  # raised again where the result is asked for
            last.set_exception(error)

    first.add_done_callback(go_on)
    return last


def _settle(future: Future[T], work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # raised again where the result is asked for
        future.set_exception(error)
