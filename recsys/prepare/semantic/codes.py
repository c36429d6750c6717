"""Codes of items as they are kept: a Parquet file `item, code0, code1, ...` that knows its number of codes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.argument_types import check_fields, typed
from recsys.prepare.files.column_values import exact_ids, is_plain
from recsys.prepare.files.first_line import first_line
from recsys.prepare.files.unreadable import UNREADABLE

NUM_CODES = b"num_codes"
FINGERPRINT = b"fingerprint"
MOST_CODES = 1 << 31


@dataclass(frozen=True)
class Codes:
    """L codes of each of M items.

    Args:
        items: [M] what the data call them, each once.
        values: [M, L] codes in [0, num_codes); from an item's first -1 on it has none.
        num_codes: K.

    Raises:
        ValueError: if a field is of another type, an item is there twice or has no name, a code is out of range or
            follows a missing one, or there are more than 31 bits hold.
    """

    items: pl.Series
    values: NDArray[np.int64]
    num_codes: int

    def __post_init__(self) -> None:
        """Refuse codes that say two things, or nothing."""
        check_fields(self)
        if self.values.dtype.kind not in "iu":
            raise ValueError(f"codes: must be whole numbers, got {self.values.dtype}.")
        if not 1 <= self.num_codes <= MOST_CODES:
            raise ValueError(f"codes: num_codes must be in [1, {MOST_CODES}], got {self.num_codes}.")
        if self.items.null_count():
            raise ValueError(f"codes: {self.items.null_count()} items have no name.")
        if self.items.n_unique() != len(self.items):
            twice = self.items.filter(self.items.is_duplicated())[0]
            raise ValueError(f"codes: item '{twice}' is there twice; keep one row of each item.")
        if self.values.ndim != 2 or self.values.shape[1] < 1 or len(self.values) != len(self.items):
            raise ValueError(f"codes: must be [{len(self.items)}, L], got {list(self.values.shape)}.")
        if self.values.size and not (self.values.min() >= -1 and self.values.max() < self.num_codes):
            raise ValueError(
                f"codes: must be in [0, {self.num_codes}), or missing, got {self.values.min()}..{self.values.max()}."
            )
        absent = self.values < 0
        if (absent[:, :-1] & ~absent[:, 1:]).any():
            row = int((absent[:, :-1] & ~absent[:, 1:]).any(axis=1).argmax())
            raise ValueError(f"codes: item '{self.items[row]}' has a code after a missing one.")

    @property
    def num_levels(self) -> int:
        """L."""
        return self.values.shape[1]

    @property
    def has_codes(self) -> NDArray[np.bool_]:
        """[M] whether an item has any."""
        return self.values[:, 0] >= 0

    def fingerprint(self) -> str:
        """A checksum of which item has which codes, whatever their order in the file."""
        lines = self.frame().with_columns(pl.col("item").cast(pl.String)).sort("item")
        text = lines.write_csv(include_header=False) + str(self.num_codes)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def frame(self) -> pl.DataFrame:
        """Columns item and code0 to codeL-1, null where an item has none."""
        dtype = pl.Int16 if self.num_codes <= 1 << 15 else pl.Int32
        columns = {f"code{level}": pl.Series(column, dtype=dtype) for level, column in enumerate(self.values.T)}
        frame = pl.DataFrame({"item": self.items, **columns})
        return frame.with_columns(pl.when(pl.col(name) >= 0).then(pl.col(name)) for name in columns)

    def write(self, path: Path) -> None:
        """Write the Parquet file, with the number of codes and the fingerprint in its metadata."""
        table = self.frame().to_arrow()
        metadata = {NUM_CODES: str(self.num_codes).encode(), FINGERPRINT: self.fingerprint().encode()}
        pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd")


@typed
def read_codes(path: Path, num_codes: int | None = None) -> Codes:
    """Codes of a Parquet file, ours or one that others have published.

    Args:
        path: of a file with a column item and columns code0, code1, ... of whole numbers.
        num_codes: K; by default what the file says, or its largest code and one.

    Raises:
        ValueError: if the file is missing or has no such columns, or its codes are not those that it was written with.
    """
    if not path.is_file():
        raise ValueError(f"codes: file '{path}' does not exist.")
    try:
        said = (pq.read_schema(path).metadata or {}).get(NUM_CODES)
        expected = (pq.read_schema(path).metadata or {}).get(FINGERPRINT)
        frame = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, *UNREADABLE) as error:
        raise ValueError(f"codes: '{path}' cannot be read as a Parquet file ({first_line(error)}).") from error
    names = sorted((name for name in frame.columns if re.fullmatch(r"code\d+", name)), key=lambda name: int(name[4:]))
    if "item" not in frame.columns or names != [f"code{level}" for level in range(len(names))] or not names:
        raise ValueError(f"codes: '{path}' must have columns item, code0, code1, ..., got {', '.join(frame.columns)}.")
    for name in names:
        if not frame[name].dtype.is_integer():
            raise ValueError(f"codes: column {name} of '{path}' must be whole numbers, got {frame[name].dtype}.")
    if not is_plain(frame["item"].dtype) or not len(frame):
        raise ValueError(f"codes: '{path}' must have rows, and items that are numbers or texts.")
    try:
        values = frame.select(pl.col(names).cast(pl.Int64).fill_null(-1)).to_numpy()
        if num_codes is None:
            if said is not None and not said.isdigit():
                raise ValueError(f"num_codes of its metadata must be a whole number, got {said!r}.")
            num_codes = int(said) if said is not None else max(1, int(values.max(initial=0)) + 1)
        codes = Codes(exact_ids(frame["item"], f"column 'item' of '{path}'", "codes"), values, num_codes)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise ValueError(f"codes: '{path}': {first_line(error).removeprefix('codes: ')}") from error
    if expected is not None and expected.decode(errors="replace") != codes.fingerprint():
        raise ValueError(f"codes: '{path}' is not as it was written: its fingerprint differs; make it again.")
    return codes
