"""One of several sizes for every table, so that all together fit a budget and lose as little as they can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_HALVINGS = 100


@dataclass(frozen=True)
class Choice:
    """A size that a table may have.

    Args:
        num_bytes: that it takes.
        loss: that it costs, in any unit that is the same for all tables.
    """

    num_bytes: int
    loss: float


def allocate(choices: Mapping[str, Sequence[Choice]], budget_bytes: int) -> dict[str, int] | None:
    """The place of the choice for each table; None if the smallest of all do not fit.

    Source: Everett, "Generalized Lagrange multiplier method" (1963): each table takes what is best at a price per byte,
    and the price falls until the budget is met; what is left goes to the improvements that save most per byte.

    Args:
        choices: by table, at least one each.
        budget_bytes: of all tables together.
    """

    def at(price: float) -> dict[str, int]:
        return {
            name: min(range(len(own)), key=lambda place: (own[place].loss + price * own[place].num_bytes, place))
            for name, own in choices.items()
        }

    def total(chosen: Mapping[str, int]) -> int:
        return sum(choices[name][place].num_bytes for name, place in chosen.items())

    best = {name: min(range(len(own)), key=lambda place: own[place].num_bytes) for name, own in choices.items()}
    if total(best) > budget_bytes:
        return None
    # Between prices at which losses weigh nothing and all, on a logarithmic scale.
    low, high = -80.0, 80.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = at(10.0**middle)
        if total(found) <= budget_bytes:
            best, high = found, middle
        else:
            low = middle
    return _improved(choices, best, budget_bytes - total(best))


def _improved(choices: Mapping[str, Sequence[Choice]], chosen: dict[str, int], left: int) -> dict[str, int]:
    """Larger choices for single tables, the one that saves most per byte first, while they fit."""
    while True:
        steps = []
        for name, place in chosen.items():
            now = choices[name][place]
            for other, choice in enumerate(choices[name]):
                more = choice.num_bytes - now.num_bytes
                if choice.loss < now.loss and more <= left:
                    steps.append(((now.loss - choice.loss) / max(more, 1e-9), name, other, more))
        if not steps:
            return chosen
        _, name, place, more = max(steps)
        chosen, left = {**chosen, name: place}, left - more
