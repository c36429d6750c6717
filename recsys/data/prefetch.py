"""One background thread that stays one item ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
Result = TypeVar("Result")


def prefetch(make: Callable[[T], Result], items: Iterable[T]) -> Iterator[Result]:
    """make(item) of each item, in order, the next one being made while the caller works on the last one.

    Holds two results at most. An exception of `make` is raised here; the thread ends with the iterator.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="recsys-prefetch") as thread:
        waiting = None
        for item in items:
            made, waiting = waiting, thread.submit(make, item)
            if made is not None:
                yield made.result()
                del made
        if waiting is not None:
            yield waiting.result()
