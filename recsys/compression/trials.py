"""Methods tried on a trained model: bytes, and the change in its metrics with paired intervals."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from recsys.compression.method import Method, bytes_of
from recsys.compression.model import TrainedModel
from recsys.compression.quality import LESS_IS_BETTER, measured_splits
from recsys.compression.trained import Compressed, TrainedTable
from recsys.evaluation import Comparison
from recsys.tables.budget import BudgetError


@dataclass(frozen=True)
class Trial:
    """What a method gives at a budget.

    Args:
        method: its name.
        budget_bytes: that it might take.
        num_bytes: that it takes, as served.
        seconds: that it took, without evaluation.
        val: of the metrics, compressed minus trained; empty where there is no val split.
        test: the same on rows that chose nothing; empty where there is no test split.
        compressed: the tables.
    """

    method: str
    budget_bytes: int
    num_bytes: int
    seconds: float
    val: Mapping[str, Comparison]
    test: Mapping[str, Comparison]
    compressed: Mapping[str, Compressed] = field(repr=False)

    def quality(self, metric: str) -> float:
        """On the val split, the higher the better."""
        return self.val[metric].second * (-1 if metric in LESS_IS_BETTER else 1)

    def surely(self, metric: str) -> float:
        """How far it is above the trained tables at least, by its interval on the val split: the higher the better.

        The difference itself where there are too few rows for an interval.
        """
        found = self.val[metric]
        least, difference = (
            (-found.high, -found.difference) if metric in LESS_IS_BETTER else (found.low, found.difference)
        )
        return difference if math.isnan(least) else least

    @property
    def without_rows(self) -> list[str]:
        """Tables of several ids that have no row left: one vector for all of these."""
        return [
            name
            for name, (table, _) in self.compressed.items()
            if table.num_embeddings > 1 and not table.physical_tables()
        ]

    @property
    def shown(self) -> Mapping[str, Comparison]:
        """Of the test split, or of val where there is none."""
        return self.test or self.val


class Trials:
    """Tries methods on a model, whose scores with its trained tables are measured once.

    Args:
        model: trained.
        confidence: of the intervals.
    """

    def __init__(self, model: TrainedModel, confidence: float = 0.95) -> None:
        self._model = model
        self._confidence = confidence
        self._splits = measured_splits(model.data)
        model.use_trained()
        self._before = {split: model.scores(split) for split in self._splits}

    def run(
        self, methods: Sequence[Method], tables: Sequence[TrainedTable], budget_bytes: int
    ) -> Iterator[Trial | BudgetError]:
        """A trial of each method, or why it cannot meet the budget."""
        for method in methods:
            started = time.perf_counter()
            try:
                compressed = method.compress(tables, budget_bytes)
            except BudgetError as error:
                yield error
                continue
            seconds = time.perf_counter() - started
            yield self.measure(method.name, compressed, budget_bytes, seconds)

    def measure(
        self, name: str, compressed: Mapping[str, Compressed], budget_bytes: int, seconds: float = math.nan
    ) -> Trial:
        """A trial of tables that are there; the model has its trained ones again afterwards."""
        self._model.use(compressed)
        found = self.compare()
        self._model.use_trained()
        return Trial(
            method=name,
            budget_bytes=budget_bytes,
            num_bytes=bytes_of(compressed),
            seconds=seconds,
            val=found.get("val", {}),
            test=found.get("test", {}),
            compressed=compressed,
        )

    def compare(self) -> dict[str, dict[str, Comparison]]:
        """The model as it is now against its trained tables, by split and metric."""
        return {
            split: self._model.quality.compare(self._before[split], self._model.scores(split), self._confidence)
            for split in self._splits
        }


def best(trials: Sequence[Trial], metric: str) -> Trial:
    """The trial that surely loses least; of equal ones the smallest, and one alone as it is.

    Not the one that validates best: what changes predictions much is above others by chance as often as below, and the
    highest of several is then mostly such a one.
    """
    if len(trials) == 1:
        return trials[0]
    return max(trials, key=lambda trial: (trial.surely(metric), -trial.num_bytes))
