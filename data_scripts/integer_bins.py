"""Bins of whole numbers, as categorical values (the "3 idiots" solution of the Criteo contest)."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from raw_keys import MISSING, Keys, LongValues, pack

_NEGATIVE = 0
_FIRST = 1
_NUM_BINS = 2048
_BIN_KEYS = pack([b"neg", *(str(number).encode() for number in range(_NUM_BINS))], LongValues())


def bins(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0 for negative numbers, 1 + x for x up to 2, and 1 + floor(log(x)^2) above."""
    squared_log = np.floor(np.log(np.maximum(values, 1)) ** 2).astype(np.int64)
    return np.where(values < 0, _NEGATIVE, _FIRST + np.where(values <= 2, values, squared_log))


def bin_keys(numbers: pl.Series) -> Keys:
    """Return the key of each number's bin: ``neg`` or its number; 0 where missing."""
    keys = _BIN_KEYS[bins(numbers.fill_null(0).to_numpy())]
    keys[numbers.is_null().to_numpy()] = MISSING
    return keys
