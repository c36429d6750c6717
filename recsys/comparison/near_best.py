"""Which contenders take further seeds, once the first seeds of all have run."""

from __future__ import annotations

from statistics import mean

from recsys.comparison.spec import Comparison, Contender, Run
from recsys.comparison.store import RunStore


def all_runs(comparison: Comparison, store: RunStore) -> list[Run]:
    """Every contender with every seed, then those near the best with their further seeds."""
    further = comparison.near_best
    if further is None:
        return comparison.runs()
    near = near_best(comparison, store)
    return comparison.runs() + [comparison.run(contender, seed) for seed in further.seeds for contender in near]


def near_best(comparison: Comparison, store: RunStore) -> list[Contender]:
    """The contenders near the best on validation, as far as the first seeds have run; none where no seeds are further.

    Validation chooses, not test: the seeds then say what the test score is worth.
    """
    if comparison.near_best is None:
        return []
    further, sign = comparison.near_best, 1 if comparison.mode == "max" else -1
    reached = {place: sign * value for place, value in enumerate(_validation(comparison, store)) if value is not None}
    best: dict[str, float] = {}
    for place, value in reached.items():
        label = comparison.contenders[place].labels.get(further.axis, "")
        best[label] = max(value, best.get(label, value))
    return [
        comparison.contenders[place]
        for place, value in reached.items()
        if value >= best[comparison.contenders[place].labels.get(further.axis, "")] - further.within
    ]


def _validation(comparison: Comparison, store: RunStore) -> list[float | None]:
    """The mean over the first seeds of each contender; None where one is missing."""
    found = []
    for contender in comparison.contenders:
        results = [store.result(comparison.run(contender, seed)) for seed in comparison.seeds]
        values = [result.val for result in results if result is not None]
        found.append(mean(values) if len(values) == len(results) else None)
    return found
