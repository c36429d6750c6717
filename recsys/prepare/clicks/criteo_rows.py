"""Parse Criteo's lines: what criteo.py describes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.clicks.integer_bins import bin_keys
from recsys.prepare.clicks.raw_dataset import Beside, Feature, ParsedBlock, Rows, click_labels
from recsys.prepare.clicks.raw_keys import LongValues, keys_of
from recsys.prepare.files.bad_lines import LineReport
from recsys.prepare.files.raw_files import RawBlock, RawFile
from recsys.prepare.files.raw_frames import Layout, RowChecks, in_line_order, read_frame

LABEL = "label"
INTEGERS = tuple(f"I{number}" for number in range(1, 14))
CATEGORIES = tuple(f"C{number}" for number in range(1, 27))
LAYOUT = Layout(b"\t", (LABEL, *INTEGERS, *CATEGORIES), frozenset((LABEL, *INTEGERS)))
UNLABELLED = Layout(b"\t", (*INTEGERS, *CATEGORIES), frozenset(INTEGERS))
SMALLEST = dict.fromkeys(INTEGERS, 0) | {"I2": -3}


class CriteoRows:
    """One train.txt, or the days of a longer log.

    Args:
        main_files: The raw lines.
        bin_integers: Add the binned numbers as categorical features.
        missing_indicators: Add a dense feature for each number, 1 where it is missing.
        name: Of the data set.
        labelled: Whether lines begin with a label, which Kaggle's test.txt lacks.
    """

    def __init__(
        self,
        main_files: Sequence[RawFile],
        bin_integers: bool = False,
        missing_indicators: bool = False,
        name: str = "criteo",
        labelled: bool = True,
    ) -> None:
        self.name = name
        self.main_files = main_files
        self.side_files: list[RawFile] = []
        self.beside = Beside(label=labelled)
        self.layout = LAYOUT if labelled else UNLABELLED
        self.bin_integers = bin_integers
        self.missing_indicators = missing_indicators
        self.long_values = LongValues()
        self.features = [Feature(column, "dense") for column in INTEGERS]
        if missing_indicators:
            self.features += [Feature(f"{column}_missing", "dense") for column in INTEGERS]
        self.features += [Feature(column, "categorical") for column in CATEGORIES]
        if bin_integers:
            self.features += [Feature(f"{column}_bin", "categorical") for column in INTEGERS]

    def read_side_files(self, report: LineReport) -> None:
        """Do nothing: train.txt refers to no other file."""

    def blocks(self) -> Iterator[RawBlock]:
        """Yield whole lines."""
        for file in self.main_files:
            yield from file.blocks()

    def parse(self, block: RawBlock) -> ParsedBlock:
        """Parse whole lines."""
        lines, bad = read_frame(block, self.layout)
        frame, checks = lines.frame, RowChecks(lines)
        labels = click_labels(frame[LABEL], checks) if self.beside.label else None
        keys = [keys_of(frame[column], self.long_values) for column in CATEGORIES]
        if self.bin_integers:
            keys += [bin_keys(frame[column]) for column in INTEGERS]
        dense = dense_values(frame)
        if self.missing_indicators:
            dense += tuple(frame[column].is_null().to_numpy().astype(np.float32) for column in INTEGERS)
        rows = Rows(labels, dense, tuple(keys), num_rows=len(frame)).select(checks.keep())
        return ParsedBlock(rows, in_line_order(bad, checks.bad_lines()))


def dense_values(frame: pl.DataFrame) -> tuple[NDArray[np.float32], ...]:
    """Return log(x + 1 - smallest) of each whole number x, raised to the smallest first; 0 where missing."""
    return tuple(_log(frame[name], smallest) for name, smallest in SMALLEST.items())


def _log(numbers: pl.Series, smallest: int) -> NDArray[np.float32]:
    values = numbers.fill_null(smallest).to_numpy().astype(np.float32)
    logs: NDArray[np.float32] = np.log(np.maximum(values, np.float32(smallest)) + np.float32(1 - smallest))
    return logs
