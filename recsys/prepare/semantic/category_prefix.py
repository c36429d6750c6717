"""Codes without an encoder: what kind of thing an item is, from coarse to fine.

A prefix of parent category, category and brand agrees better with what is used together than learned codes do in
SIDInspector (arXiv:2606.10375); it is the first baseline.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.files.column_values import lists_of, texts_of
from recsys.prepare.semantic.codes import Codes

DEFAULT_BINS = 10

MISSING = 0


@dataclass(frozen=True)
class Level:
    """What the codes of one level stand for.

    Args:
        column: of the items.
        values: of codes 1, 2, ..., the most common first; code 0 stands for a missing value.
        bounds: lower bounds of the bins of numbers 2, 3, ...; None where values are categories.
    """

    column: str
    values: list[str]
    bounds: list[float] | None = None


@dataclass(frozen=True)
class CategoryPrefix:
    """Gives items the codes of their categories.

    Args:
        levels: from coarse to fine.
        num_codes: K.
    """

    levels: list[Level]
    num_codes: int

    def codes(self, frame: pl.DataFrame) -> Codes:
        """Codes of items; those without a value of any column have none.

        Raises:
            ValueError: if there are more categories than codes.
        """
        columns = [_encoded(frame[level.column], level) for level in self.levels]
        values = np.stack(columns, axis=1)
        values[(values == MISSING).all(axis=1)] = -1
        return Codes(frame["item"], values, self.num_codes)

    def extended(self, frame: pl.DataFrame) -> CategoryPrefix:
        """The same, with categories that are new at the end; no code that stood for something stands for another.

        Raises:
            ValueError: if there are more categories than codes.
        """
        levels = []
        for level in self.levels:
            known = set(level.values)
            new = [] if level.bounds is not None else [v for v in _ranked(frame[level.column]) if v not in known]
            if len(level.values) + len(new) >= self.num_codes:
                raise ValueError(
                    f"--extend: column '{level.column}' has {len(level.values) + len(new)} categories, and the codes "
                    f"have room for {self.num_codes - 1}; make the codes anew with a larger --codes."
                )
            levels.append(Level(level.column, [*level.values, *new], level.bounds))
        return CategoryPrefix(levels, self.num_codes)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What it is made of, for a file."""
        text = json.dumps({"num_codes": self.num_codes, "levels": [vars(level) for level in self.levels]})
        return {"category_prefix": np.array(text)}

    @staticmethod
    def of_arrays(arrays: dict[str, NDArray[np.generic]]) -> CategoryPrefix:
        """What gave these."""
        content = json.loads(str(arrays["category_prefix"]))
        return CategoryPrefix([Level(**level) for level in content["levels"]], content["num_codes"])


def fit_categories(
    frame: pl.DataFrame, columns: list[str], num_codes: int | None, num_bins: int | None = None
) -> CategoryPrefix:
    """The levels of some columns, each with its categories by falling number of items; numbers with a point in bins.

    Args:
        frame: of items.
        columns: from coarse to fine.
        num_codes: K; by default the power of two that leaves the largest column room to double.
        num_bins: of a column of numbers that are no whole ones, with equally many items each; None for 10.

    Raises:
        ValueError: if a column has no value or more categories than codes, or bins are asked for and no column holds
            such numbers.
    """
    levels = [_level(frame[column], num_bins or DEFAULT_BINS) for column in columns]
    empty = next((level.column for level in levels if (_encoded(frame[level.column], level) == MISSING).all()), None)
    if empty is not None:
        raise ValueError(f"--categories: column '{empty}' has no value in any row; leave it out.")
    if num_bins is not None and all(level.bounds is None for level in levels):
        raise ValueError(
            f"--bins {num_bins} does nothing: none of {', '.join(columns)} holds numbers with a point; leave it out."
        )
    largest = max(levels, key=lambda level: len(level.values))
    if num_codes is None:
        num_codes = 1 << (2 * len(largest.values)).bit_length()
    if len(largest.values) >= num_codes:
        raise ValueError(
            f"--codes: column '{largest.column}' has {len(largest.values)} categories; give more than that, or leave "
            "--codes out."
        )
    return CategoryPrefix(levels, num_codes)


def _level(values: pl.Series, num_bins: int) -> Level:
    if not (values.dtype.is_float() or values.dtype.is_decimal()):
        return Level(values.name, _ranked(values))
    numbers = values.cast(pl.Float64).drop_nulls().drop_nans().to_numpy()
    if np.isinf(numbers).any():
        raise ValueError(f"--categories: column '{values.name}' holds an infinite number; leave such a cell empty.")
    steps = np.arange(1, num_bins) / num_bins
    bounds = np.unique(np.quantile(numbers, steps)).tolist() if len(numbers) else []
    return Level(values.name, [f"from {bound!r}" for bound in [-np.inf, *bounds]], bounds)


def _ranked(values: pl.Series) -> list[str]:
    """Categories by falling number of items, as text; those of one number in the order of their first item."""
    texts = _texts(values).drop_nulls().to_frame("value")
    counts = texts.group_by("value", maintain_order=True).len().sort("len", descending=True, maintain_order=True)
    return counts["value"].to_list()


def _texts(values: pl.Series) -> pl.Series:
    """Categories as they are written; a list is the sorted texts in it, told apart from a text that holds a bar."""
    where = f"--categories: column '{values.name}'"
    if not isinstance(values.dtype, pl.List | pl.Array):
        return texts_of(values, where).replace("", None)
    if values.dtype.inner.is_float():
        raise ValueError(f"{where} holds lists of numbers with a point, which are no categories; --vectors takes it.")
    inner, lengths = lists_of(values, None, where)
    escaped = inner.str.replace_all("\\", "\\\\", literal=True).str.replace_all("|", "\\|", literal=True)
    parts = pl.DataFrame({"row": np.repeat(np.arange(len(values)), lengths), "text": escaped})
    joined = parts.group_by("row").agg(pl.col("text").sort().str.join("|"))
    rows = pl.DataFrame({"row": np.arange(len(values))})
    return rows.join(joined, on="row", how="left", maintain_order="left")["text"]


def _new_numbers(values: pl.Series) -> NDArray[np.float64]:
    """The numbers of a column that was cut into bins, NaN where one is missing; new items may hold anything in it."""
    must = f"--extend: column '{values.name}' was cut into bins and must hold finite numbers, got"
    if not (values.dtype.is_numeric() or values.dtype == pl.Null):
        raise ValueError(f"{must} {values.dtype}; write numbers, and leave cells empty where there is none.")
    numbers = values.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    if np.isinf(numbers).any():
        raise ValueError(f"{must} an infinite one; leave such a cell empty.")
    return numbers


def _encoded(values: pl.Series, level: Level) -> NDArray[np.int64]:
    if level.bounds is not None:
        numbers = _new_numbers(values)
        bins = 1 + np.searchsorted(np.array(level.bounds), numbers, side="right")
        return np.where(np.isnan(numbers), MISSING, bins).astype(np.int64)
    known = pl.DataFrame(
        {"value": level.values, "code": np.arange(1, len(level.values) + 1)}, schema_overrides={"value": pl.String}
    )
    joined = _texts(values).to_frame("value").join(known, on="value", how="left", maintain_order="left")
    return joined["code"].fill_null(MISSING).to_numpy().astype(np.int64)
