"""Prediction files, read in batches and checked row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.argument_types import check_fields, typed
from recsys.evaluation.checks import scaled
from recsys.evaluation.tables import Part, TableFiles, joined

WEIGHT_OF_FILE = b"recsys.weight"
"""Metadata of a Parquet file that `lightning predict` wrote: the column of weights with which its data are tested."""


@dataclass(frozen=True)
class Names:
    """Columns of a prediction file.

    Args:
        label: 0 or 1.
        score: probability, or logit.
        weight: of the row, at least 0; None if all rows count alike.
        others: further columns to read, for groups and slices.
        logits: scores are logits.
    """

    label: str = "label"
    score: str = "score"
    weight: str | None = None
    others: tuple[str, ...] = ()
    logits: bool = False

    def __post_init__(self) -> None:
        """Refuse fields of another type, and one column for two of them."""
        check_fields(self)
        named = [name for name in (self.label, self.score, self.weight) if name is not None]
        if "" in (*named, *self.others) or len(set(named)) < len(named):
            raise ValueError(f"Names: label, score and weight must be three columns with names, got {named}.")

    @property
    def read(self) -> list[str]:
        """All columns, each once."""
        return list(dict.fromkeys([self.label, self.score, *([self.weight] if self.weight else []), *self.others]))


@dataclass(frozen=True)
class Rows:
    """Checked rows.

    Args:
        is_positive: [N].
        scores: [N] as in the file.
        weights: [N], or None.
        others: further columns, [N] each.
        logits: scores are logits, not probabilities.

    Raises:
        ValueError: naming a column of another kind, or of more or fewer rows.
    """

    is_positive: NDArray[np.bool_]
    scores: NDArray[np.floating]
    weights: NDArray[np.float64] | None
    others: dict[str, pa.Array]
    logits: bool = False

    def __post_init__(self) -> None:
        """Refuse columns of other kinds, or of other rows."""
        plain: list[tuple[str, Any, str]] = [("is_positive", self.is_positive, "b"), ("scores", self.scores, "f")]
        plain += [("weights", self.weights, "f")] if self.weights is not None else []
        for name, values, kind in plain:
            if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind != kind:
                wanted = "truth values" if kind == "b" else "floats"
                raise ValueError(f"Rows: {name} must be an array [N] of {wanted}, got {values!r}.")
        for name, values in [*((name, values) for name, values, _ in plain), *self.others.items()]:
            if not isinstance(values, np.ndarray | pa.Array | pa.ChunkedArray) or len(values) != len(self):
                raise ValueError(f"Rows: {name} must have a value for each of {len(self)} rows, got {values!r}.")

    def __len__(self) -> int:
        return len(self.is_positive)

    def take(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> Rows:
        """The rows where `chosen` is true, or those at these places.

        Raises:
            ValueError: if `chosen` is neither a truth value for each row nor places of rows.
        """
        is_mask = isinstance(chosen, np.ndarray) and chosen.dtype == bool and len(chosen) == len(self)
        if not is_mask and not _are_places(chosen, len(self)):
            raise ValueError(f"Rows.take: chosen must be {len(self)} truth values or places of rows, got {chosen!r}.")
        pick = pa.array(chosen)
        return replace(
            self,
            is_positive=self.is_positive[chosen],
            scores=self.scores[chosen],
            weights=None if self.weights is None else self.weights[chosen],
            others={
                name: column.filter(pick) if chosen.dtype == bool else column.take(pick)
                for name, column in self.others.items()
            },
        )

    def that_weigh(self) -> Rows:
        """The rows whose weight is not 0, for a row of weight 0 is none; weights of a size that can be multiplied.

        Raises:
            ValueError: if all rows weigh 0.
        """
        if self.weights is None:
            return self
        if not self.weights.any():
            raise ValueError("weights: all rows weigh 0.")
        rows = self if self.weights.all() else self.take(self.weights > 0)
        assert rows.weights is not None
        return replace(rows, weights=scaled(rows.weights))


def _are_places(chosen: object, num_rows: int) -> bool:
    if not isinstance(chosen, np.ndarray) or chosen.dtype.kind not in "iu" or chosen.ndim != 1:
        return False
    return not len(chosen) or (int(chosen.min()) >= 0 and int(chosen.max()) < num_rows)


class PredictionFiles:
    """One or more files read as one, in the order given.

    Args:
        paths: .parquet, .csv or .tsv files, or folders of them.
        names: of the columns.

    Raises:
        ValueError: a file is missing, empty, truncated or of another kind, or lacks a column.
    """

    @typed
    def __init__(self, paths: Sequence[Path], names: Names) -> None:
        self.table = TableFiles(paths)
        self.names = names
        self.table.require(names.read)

    def batches(self) -> Iterator[Rows]:
        """Checked rows, a million at a time.

        Raises:
            ValueError: on a value that no metric can take, naming file, column and row (from 0).
        """
        for part in self.table.parts(self.names.read):
            yield self._checked(part)

    def all(self) -> Rows:
        """Every row in memory.

        Raises:
            ValueError: as `batches`.
        """
        parts = list(self.batches())
        return Rows(
            np.concatenate([part.is_positive for part in parts]),
            np.concatenate([part.scores for part in parts]),
            None if self.names.weight is None else np.concatenate([p.weights for p in parts if p.weights is not None]),
            {name: joined([part.others[name] for part in parts], name) for name in self.names.others},
            self.names.logits,
        )

    def num_rows(self) -> int | None:
        """Rows of all files, where their kind tells without reading them; else None."""
        return self.table.num_rows()

    def _checked(self, part: Part) -> Rows:
        names = self.names
        labels, scores = part.numbers(names.label), part.numbers(names.score)
        part.refuse(names.label, (labels != 0) & (labels != 1), "labels must be 0 or 1", labels)
        if not names.logits:
            rule = "probabilities must be in [0, 1] (--logits for logits)"
            part.refuse(names.score, (scores < 0) | (scores > 1), rule, scores)
        others = {name: part.names(name) for name in names.others}
        return Rows(labels == 1, scores, checked_row_weights(part, names.weight), others, names.logits)


def checked_row_weights(part: Part, name: str | None) -> NDArray[np.float64] | None:
    """Weights of some rows, if a column has them.

    Raises:
        ValueError: a weight is negative or not finite.
    """
    if name is None:
        return None
    weights = part.numbers(name).astype(np.float64)
    part.refuse(name, weights < 0, "weights must be at least 0", weights)
    part.refuse(name, np.isinf(weights), "weights must be finite", weights)
    return weights
