"""Whether a comparison's metric exists, found out before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from recsys.comparison.spec import Comparison
from recsys.configuration.suggestions import explain


def check_metric(comparison: Comparison) -> None:
    """Refuse a metric that the configs of a contender do not monitor: no best epoch could be chosen by it.

    Raises:
        ValueError: naming the contender, and what its configs monitor instead.
    """
    watched = f"val/{comparison.metric}"
    for contender in comparison.contenders:
        monitors = sorted(set(_monitors([*comparison.configs, *contender.overrides])))
        if watched not in monitors:
            problem = f"metric '{comparison.metric}': nothing in the configs of '{contender.name}' monitors {watched}"
            raise ValueError(_named(problem, comparison.metric, monitors))


def check_logged(metric: str, logged: Iterable[str]) -> None:
    """Refuse a metric that a validation did not log.

    A metric of a slice, such as ndcg@10_cold of ndcg@10, may be missing from the few batches of a first validation.

    Raises:
        ValueError: naming what it logged instead.
    """
    names = sorted(name.removeprefix("val/") for name in logged if name.startswith("val/"))
    if names and metric not in names and not any(metric.startswith(f"{name}_") for name in names):
        raise ValueError(_named(f"metric '{metric}': the task logs no val/{metric}", metric, names))


def _named(problem: str, metric: str, known: Sequence[str]) -> str:
    return explain(problem, metric, [name.removeprefix("val/") for name in known])


def _monitors(content: Any) -> Iterator[str]:
    """Every value of a key `monitor`, however deep."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "monitor" and isinstance(value, str):
                yield value
            else:
                yield from _monitors(value)
    elif isinstance(content, list):
        for value in content:
            yield from _monitors(value)
