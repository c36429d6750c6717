"""Parse Avazu's lines: what avazu.py describes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from recsys.prepare.clicks.raw_dataset import Beside, Feature, ParsedBlock, Rows, click_labels
from recsys.prepare.clicks.raw_keys import LongValues, keys_of
from recsys.prepare.files.bad_lines import LineReport
from recsys.prepare.files.raw_files import RawBlock, RawFile
from recsys.prepare.files.raw_frames import Layout, RowChecks, in_line_order, read_frame

TIMES = ("hour", "weekday", "weekend")
VALUES = (
    *("C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category"),
    *("device_id", "device_ip", "device_model", "device_type", "device_conn_type"),
    *("C14", "C15", "C16", "C17", "C18", "C19", "C20", "C21"),
)
KEY = "id"
LAYOUT = Layout(b",", (KEY, "click", "hour", *VALUES), frozenset(("click",)))
UNLABELLED = Layout(b",", (KEY, "hour", *VALUES))
SATURDAY = 6


class AvazuRows:
    """One train file, or several.

    Args:
        main_files: The raw lines.
        keeps_id: Keep the column id, for predictions.
        labelled: Whether there is a column click, which Kaggle's test lacks.
    """

    name = "avazu"

    def __init__(self, main_files: Sequence[RawFile], keeps_id: bool = False, labelled: bool = True) -> None:
        self.main_files = main_files
        self.side_files: list[RawFile] = []
        self.beside = Beside(label=labelled, keys=(KEY,) if keeps_id else ())
        self.layout = LAYOUT if labelled else UNLABELLED
        self.long_values = LongValues()
        self.features = [Feature(column, "categorical") for column in (*TIMES, *VALUES)]

    def read_side_files(self, report: LineReport) -> None:
        """Do nothing: train refers to no other file."""

    def blocks(self) -> Iterator[RawBlock]:
        """Yield whole lines."""
        for file in self.main_files:
            yield from file.blocks()

    def parse(self, block: RawBlock) -> ParsedBlock:
        """Parse whole lines.

        Raises:
            ValueError: The first line of the file is not the publisher's header.
        """
        dropped: Counter[str] = Counter()
        if block.first_line == 1:
            block, dropped = _without_header(block, self.layout), Counter({"header": 1})
        lines, bad = read_frame(block, self.layout)
        checks = RowChecks(lines)
        labels = click_labels(lines.frame["click"], checks) if self.beside.label else None
        times = (lines.frame["hour"] + "00").str.to_datetime("%y%m%d%H%M", strict=False)
        times = times.set(lines.frame["hour"].str.len_bytes().fill_null(0) != 8, None)
        checks.reject("hour", times.is_null(), "not a time written YYMMDDHH")
        texts = [*_time_values(times), *(lines.frame[name] for name in VALUES)]
        rows = Rows(
            labels=labels,
            dense=(),
            keys=tuple(keys_of(column, self.long_values) for column in texts),
            days=times.dt.epoch("d").fill_null(0).to_numpy().astype(np.int32),
            kept=lines.frame.select(self.beside.keys).to_arrow() if self.beside.keys else None,
            num_rows=len(lines.frame),
        )
        return ParsedBlock(rows.select(checks.keep()), in_line_order(bad, checks.bad_lines()), dropped)


def _time_values(times: pl.Series) -> list[pl.Series]:
    """Return hour of the day, weekday from Monday = 0, and weekend, as text."""
    weekday = times.dt.weekday()
    values = [times.dt.hour(), weekday - 1, (weekday >= SATURDAY).cast(pl.Int8)]
    return [value.cast(pl.String) for value in values]


def header_of(layout: Layout) -> bytes:
    """Return the publisher's first line, without its newline."""
    return b",".join(name.encode() for name in layout.columns)


def _without_header(block: RawBlock, layout: Layout) -> RawBlock:
    header, (found, rest) = header_of(layout), block.data.split(b"\n", 1)
    if found != header:
        shown = found.decode(errors="replace")[:200]
        raise ValueError(f"{block.file}, line 1: expected the header '{header.decode()}', found '{shown}'.")
    return dataclasses.replace(block, first_line=2, data=rest, num_lines=block.num_lines - 1)
