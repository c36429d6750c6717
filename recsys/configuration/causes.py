"""What led to an error."""

from __future__ import annotations

from collections.abc import Iterator


def led_to(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that led to it, each once: one may be named as its own cause."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
