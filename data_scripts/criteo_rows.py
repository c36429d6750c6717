"""Parse Criteo's lines: what criteo.py describes."""

from __future__ import annotations

import numpy as np
from bad_lines import LineReport
from integer_bins import bin_keys
from numpy.typing import NDArray
from raw_dataset import Feature, ParsedBlock, Rows
from raw_fields import Layout, RowChecks, split_fields
from raw_files import RawBlock, RawFile
from raw_values import LongValues, WholeNumbers, categorical, whole_numbers

INTEGERS = tuple(f"I{number}" for number in range(1, 14))
CATEGORIES = tuple(f"C{number}" for number in range(1, 27))
LAYOUT = Layout(b"\t", ("label", *INTEGERS, *CATEGORIES))
NUMBERS = slice(0, 14)
VALUES = slice(14, 40)
SMALLEST = np.array([0, -3] + [0] * 11, dtype=np.float32)[:, None]


class CriteoRows:
    """One train.txt; ``bin_integers`` adds the binned numbers as categorical features."""

    def __init__(self, main_file: RawFile, bin_integers: bool = False, name: str = "criteo") -> None:
        self.name = name
        self.main_file = main_file
        self.side_files: list[RawFile] = []
        self.bin_integers = bin_integers
        self.long_values = LongValues()
        self.features = [Feature(column, "dense") for column in INTEGERS]
        self.features += [Feature(column, "categorical") for column in CATEGORIES]
        if bin_integers:
            self.features += [Feature(f"{column}_bin", "categorical") for column in INTEGERS]

    def read_side_files(self, report: LineReport) -> None:
        """Do nothing: train.txt refers to no other file."""

    def parse(self, block: RawBlock) -> ParsedBlock:
        """Parse whole lines."""
        fields, bad = split_fields(block, LAYOUT)
        numbers = whole_numbers(fields, NUMBERS)
        checks = RowChecks(fields)
        labels = numbers.values[0]
        checks.reject_field(numbers.bad[0] | numbers.missing[0] | (labels < 0) | (labels > 1), 0, "not 0 or 1")
        for column in range(1, len(INTEGERS) + 1):
            checks.reject_field(numbers.bad[column], column, "not a whole number")
        keys = categorical(fields, VALUES, self.long_values)
        if self.bin_integers:
            keys = np.concatenate([keys, bin_keys(numbers.values[1:], numbers.missing[1:])])
        rows = Rows(labels.astype(np.uint8), dense_values(numbers), keys).select(checks.keep())
        return ParsedBlock(rows, sorted([*bad, *checks.bad_lines()], key=lambda line: line.line))


def dense_values(numbers: WholeNumbers) -> NDArray[np.float32]:
    """Return [13, num_rows] the log-transformed numbers, given with the label in row 0."""
    raised = np.maximum(numbers.values[1:].astype(np.float32), SMALLEST)
    dense = np.log(raised - SMALLEST + 1)
    dense[numbers.missing[1:]] = 0
    return dense
