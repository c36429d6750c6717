"""Which way a metric is better, for what chooses by it."""

from __future__ import annotations

import re
from typing import Literal

Direction = Literal["max", "min"]

_MORE = re.compile(r"(?:g|pr_)?auc|(?:hr|recall|ndcg|mrr)@\d+(?:_\w+)?")
_LESS = re.compile(r"(?:log_)?loss|normalised_entropy|rmse|expected_calibration_error")


def direction(metric: str) -> Direction | None:
    """Of a metric, with its split (`val/auc`) or without; None of those that are not better either way.

    >>> direction("val/ndcg@10_cold"), direction("log_loss"), direction("calibration")
    ('max', 'min', None)
    """
    name = metric.rpartition("/")[2]
    if _MORE.fullmatch(name):
        return "max"
    return "min" if _LESS.fullmatch(name) else None
