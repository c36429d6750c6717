"""What to evaluate, and how: the words of `recsys evaluate`, checked and made definite."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from recsys.evaluation.files import WEIGHT_OF_FILE, Names
from recsys.evaluation.intervals import quantile
from recsys.evaluation.slices import Slices, Values, by_frequency, by_time, by_value
from recsys.evaluation.tables import TableFiles

_LEAST_MEMORY, _MOST_MEMORY = 1e-6, 1e9
"""GiB: into the least some rows of any file fit, and no machine has the most."""


@dataclass(frozen=True)
class Request:
    """What to evaluate.

    Args:
        files: of predictions.
        title: of the report; the files if empty.
        label: column of 0 and 1; None for "label".
        score: column of scores; None for "score" or "logit", whichever is there.
        logits: scores are logits, as those of a column "logit" are anyway.
        weight: column of weights; None for the one that a file of predictions names, "" for none at all.
        group: column of users, or of queries.
        key: columns that tell a row from all others, to join `against` by.
        slice: columns whose values are slices.
        frequency: columns of ids that are sliced by how often they occur, with their files of counts.
        time: column of times.
        against: files of a second model.
        cutoffs: list lengths; None for the usual ones.
        confidence: of the intervals.
        memory: GiB that the rows may take.

    Raises:
        ValueError: if a number is out of range, or a column is cut in two ways.
    """

    files: tuple[Path, ...]
    title: str = ""
    label: str | None = None
    score: str | None = None
    logits: bool = False
    weight: str | None = None
    group: str | None = None
    key: tuple[str, ...] = ()
    slice: tuple[str, ...] = ()
    frequency: tuple[tuple[str, Path], ...] = ()
    time: str | None = None
    against: tuple[Path, ...] = ()
    cutoffs: tuple[int, ...] | None = None
    confidence: float = 0.95
    memory: float = 8.0

    def __post_init__(self) -> None:
        quantile(self.confidence)
        if not _LEAST_MEMORY <= self.memory <= _MOST_MEMORY:
            raise ValueError(f"--memory must be in [{_LEAST_MEMORY}, {_MOST_MEMORY:g}] GiB, got {self.memory}.")
        if self.key and not self.against:
            raise ValueError(f"--key {' '.join(self.key)}: joins the rows of --against, which is missing.")
        columns = {"group": self.group, "time": self.time, "label": self.label, "score": self.score}
        named = [*columns.items(), *(("slice", name) for name in self.slice), *(("key", name) for name in self.key)]
        for option, name in [*named, *(("frequency", name) for name, _ in self.frequency)]:
            if name == "":
                raise ValueError(f"--{option} must name a column, got ''; leave it out, or name one.")
        names = [name for name, _ in self._cutters()]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the rows are to be cut by '{name}' twice; leave one out.")

    @property
    def words(self) -> str:
        """The title, in letters that every file can take."""
        words = self.title or ", ".join(str(path) for path in self.files)
        return os.fsencode(words).decode(errors="replace")

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read beside label, score and weight."""
        named = [self.group, *self.slice, *(name for name, _ in self.frequency), self.time]
        return tuple(dict.fromkeys(name for name in named if name))

    def names(self, table: TableFiles) -> Names:
        """The columns of label, score and weight, and what is read beside them.

        Raises:
            ValueError: if there is more than one column of scores to choose from, or one column is to be two things.
        """
        score = self.score or self._score(table)
        label = self.label or "label"
        weight = self.weight_of(table)
        _check_roles({"label": label, "score": score, "weight": weight, "group": self.group, "time": self.time})
        return Names(label, score, weight, self.columns, self.logits or score == "logit")

    def names_of_second(self, table: TableFiles) -> Names:
        """The columns of the second model's files; its rows weigh what the first's do, with a column or without.

        Raises:
            ValueError: as `names`.
        """
        names = replace(self.names(table), others=())
        return names if names.weight in table.columns else replace(names, weight=None)

    def weight_of(self, table: TableFiles) -> str | None:
        """The column of weights, if rows have any."""
        if self.weight is not None:
            return self.weight or None
        written = table.metadata(WEIGHT_OF_FILE)
        return None if written is None else written.decode()

    def cuts(self, columns: dict[str, pa.Array], weights: Values | None) -> dict[str, Slices]:
        """The slices of every cut, by its name.

        Raises:
            ValueError: if a column cannot be cut so.
        """
        return {name: make(columns, weights) for name, make in self._cutters()}

    def _score(self, table: TableFiles) -> str:
        found = [name for name in ("score", "logit") if name in table.columns]
        if self.logits:
            found = found[-1:]
        if len(found) > 1:
            raise ValueError(f"{table.paths[0]}: has columns 'score' and 'logit'; choose by --score.")
        return found[0] if found else "score"

    def _cutters(self) -> list[tuple[str, Callable[[dict[str, pa.Array], Values | None], Slices]]]:
        """Names of cuts, none of them that of all rows, and what makes their slices."""
        values = [(_cut(name), lambda of, w, name=name: by_value(of[name], name, w)) for name in self.slice]
        frequencies = [
            (f"frequency of {name}", lambda of, w, name=name, counts=counts: by_frequency(of[name], name, counts, w))
            for name, counts in self.frequency
        ]
        time = self.time
        times = [(_cut(time), lambda of, w: by_time(of[time], time, w))] if time else []
        return [*values, *frequencies, *times]


def _check_roles(columns: dict[str, str | None]) -> None:
    """Refuse one column as, say, label and score: its own labels are no scores of a model.

    Raises:
        ValueError: naming the column and both options.
    """
    roles: dict[str, str] = {}
    for role, column in columns.items():
        other = roles.setdefault(column, role) if column else role
        if other != role:
            raise ValueError(f"--{other} and --{role} are both column '{column}'; give --{role} a column of its own.")


def _cut(name: str) -> str:
    return json.dumps(name) if name == "all" else name
