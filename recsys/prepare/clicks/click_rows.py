"""Rows of anybody's files of clicks, as a ClickSpec says what their columns are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.clicks.click_spec import ClickSpec, ColumnRule
from recsys.prepare.clicks.dense_values import LARGEST
from recsys.prepare.clicks.raw_dataset import Beside, Feature, KeyBag, ParsedBlock, Rows
from recsys.prepare.clicks.raw_keys import LongValues, keys_of
from recsys.prepare.files.bad_lines import LineReport
from recsys.prepare.files.column_values import lists_of, numbers_of, texts_of
from recsys.prepare.files.event_times import microseconds
from recsys.prepare.files.open_table import Block, Table, find_column
from recsys.prepare.files.raw_files import RawFile
from recsys.prepare.files.raw_frames import LineFrame, RowChecks, in_line_order
from recsys.prepare.files.text_table import TextTable

SPLIT_WORDS = {"train": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2}
LABEL_WORDS = {"0": 0, "1": 1, "false": 0, "true": 1}


class ClickRows:
    """Files of one kind of rows.

    Args:
        tables: The files, in order.
        spec: What their columns are.
        name: Of the data set.
        splits_by_time: Whether times are kept to split by.
    """

    def __init__(self, tables: Sequence[Table], spec: ClickSpec, name: str, splits_by_time: bool) -> None:
        """Find the columns in every file.

        Raises:
            ValueError: A file lacks one, or a column of lists is of texts that nothing divides.
        """
        self.name = name
        self._tables = tables
        self._table_of = {table.file.name: table for table in tables}
        self._spec = spec
        self.main_files = [table.file for table in tables]
        self.side_files: list[RawFile] = []
        self.long_values = LongValues()
        self.features = [_feature(rule) for rule in spec.columns]
        self.beside = Beside(
            label=spec.label is not None,
            weight=spec.weight is not None,
            group=spec.group is not None,
            time=splits_by_time,
            split=spec.split_column is not None,
            keys=spec.keys,
        )
        for table in tables:
            for column in spec.needed:
                find_column(table.columns, column, "columns", table.file.name)
            _check_separators(table, spec)
            table.only(spec.needed)

    def read_side_files(self, report: LineReport) -> None:
        """Do nothing: the rows refer to no other file."""

    def blocks(self) -> Iterator[Block]:
        """Yield the rows of all files."""
        for table in self._tables:
            yield from table.blocks()

    def parse(self, block: Block) -> ParsedBlock:
        """Parse some rows.

        Raises:
            ValueError: A column is of a type that does not suit its kind.
        """
        parsed = self._table_of[block.file].parse(block)
        checks = RowChecks(parsed.rows)
        rows = self._rows(parsed.rows, checks)
        dropped = Counter({"blank line": parsed.num_blank} if parsed.num_blank else {})
        num_records = len(parsed.rows.lines) + len(parsed.bad) + parsed.num_blank
        return ParsedBlock(
            rows.select(checks.keep()), in_line_order(parsed.bad, checks.bad_lines()), dropped, num_records
        )

    def _rows(self, lines: LineFrame, checks: RowChecks) -> Rows:
        spec, frame = self._spec, lines.frame

        def where(name: str) -> str:
            return f"{lines.file}: column '{name}'"

        of_kind = {
            kind: [rule for rule in spec.columns if rule.kind == kind] for kind in ("dense", "categorical", "lists")
        }
        keys = [
            keys_of(texts_of(frame[rule.name], where(rule.name)), self.long_values) for rule in of_kind["categorical"]
        ]
        bags = []
        for rule in of_kind["lists"]:
            texts, lengths = lists_of(frame[rule.name], rule.separator, where(rule.name))
            bags.append(KeyBag(keys_of(texts, self.long_values), lengths))
        group = None
        if spec.group is not None:
            group = keys_of(texts_of(frame[spec.group], where(spec.group)), self.long_values)
        return Rows(
            labels=None if spec.label is None else _labels(spec, frame[spec.label], where(spec.label), checks),
            dense=tuple(_numbers(rule, frame[rule.name], where(rule.name), checks) for rule in of_kind["dense"]),
            keys=tuple(keys),
            bags=tuple(bags),
            weights=None if spec.weight is None else _weights(frame[spec.weight], where(spec.weight), checks),
            groups=group,
            times=_times(spec, frame, where(spec.time or ""), checks) if self.beside.time else None,
            splits=None
            if spec.split_column is None
            else _splits(frame[spec.split_column], where(spec.split_column), checks),
            kept=frame.select(spec.keys).to_arrow() if spec.keys else None,
            num_rows=len(frame),
        )


def _check_separators(table: Table, spec: ClickSpec) -> None:
    """A file of text has no lists, but texts that a separator divides."""
    whole = [rule.name for rule in spec.columns if rule.kind == "lists" and rule.separator is None]
    if whole and isinstance(table, TextTable):
        raise ValueError(
            f"{table.file.name}: column '{whole[0]}' holds texts, and nothing says what divides their values; give "
            f"--lists {whole[0]}:'|', or whatever it is."
        )


def _feature(rule: ColumnRule) -> Feature:
    if rule.kind == "dense":
        return Feature(rule.name, "dense", transform=rule.transform)
    if rule.kind == "categorical":
        return Feature(rule.name, "categorical")
    return Feature(rule.name, "multi_valued", rule.pooling)


def _labels(spec: ClickSpec, values: pl.Series, where: str, checks: RowChecks) -> NDArray[np.uint8]:
    if spec.positive_from is not None:
        numbers, bad = numbers_of(values, where)
        checks.reject(values.name, bad | numbers.is_null(), "not a number to compare with --positive-from")
        return (numbers.fill_null(0.0) >= spec.positive_from).to_numpy().astype(np.uint8)
    texts = texts_of(values, where)
    if spec.positive:
        checks.reject(values.name, texts.is_null(), "no label")
        return texts.is_in(spec.positive).fill_null(False).to_numpy().astype(np.uint8)
    plain = texts.str.strip_chars().str.to_lowercase().str.replace(r"^([01])\.0*$", "$1")
    labels = plain.replace_strict(LABEL_WORDS, default=None, return_dtype=pl.UInt8)
    checks.reject(values.name, labels.is_null(), "not 0 or 1 (see --positive and --positive-from)")
    return labels.fill_null(0).to_numpy().astype(np.uint8)


def _numbers(rule: ColumnRule, values: pl.Series, where: str, checks: RowChecks) -> NDArray[np.float64]:
    numbers, bad = numbers_of(values, where)
    checks.reject(rule.name, bad, "not a finite number")
    kind = (rule.transform or "none").partition(":")[0]
    large = (numbers.abs() > LARGEST[kind]).fill_null(False) & ~bad
    checks.reject(rule.name, large, f"too large to stay a finite float32 with the transform {kind}")
    found: NDArray[np.float64] = numbers.set(bad | large, None).fill_null(float("nan")).to_numpy()
    return found


def _weights(values: pl.Series, where: str, checks: RowChecks) -> NDArray[np.float32]:
    numbers, bad = numbers_of(values, where)
    good = (numbers >= 0).fill_null(False) & (numbers <= LARGEST["none"]).fill_null(False) & ~bad
    checks.reject(values.name, ~good, "not a finite weight of at least 0")
    return numbers.set(~good, 0.0).to_numpy().astype(np.float32)


def _times(spec: ClickSpec, frame: pl.DataFrame, where: str, checks: RowChecks) -> NDArray[np.int64]:
    assert spec.time is not None
    times = microseconds(frame[spec.time], spec.time_unit, where, spec.time_format)
    checks.reject(spec.time, times.is_null(), "not a time of 1900 to 2200 (see --time-unit and --time-format)")
    found: NDArray[np.int64] = times.fill_null(0).to_numpy()
    return found


def _splits(values: pl.Series, where: str, checks: RowChecks) -> NDArray[Any]:
    words = texts_of(values, where).str.strip_chars().str.to_lowercase()
    places = words.replace_strict(SPLIT_WORDS, default=None, return_dtype=pl.UInt8)
    checks.reject(values.name, places.is_null(), f"none of {', '.join(SPLIT_WORDS)}")
    return places.fill_null(0).to_numpy()
