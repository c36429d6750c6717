"""Turn fields into numbers without a Python object per field.

A categorical value is a 64-bit key. Up to eight bytes, the key is the value itself: its bytes, zero-padded, first byte
lowest. A longer value gets a key whose top byte is 0xFF, which no UTF-8 text of eight bytes ends with, over 56 bits of
its BLAKE2 digest; ``LongValues`` remembers it and refuses two values with one digest. Key 0 is the missing value.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from raw_fields import Fields, Mask

Keys = NDArray[np.uint64]

KEY_BYTES = 8
LONG_MARK = 0xFF << 56
_FIRST_BYTES = np.array([(1 << (8 * count)) - 1 for count in range(KEY_BYTES + 1)], dtype=np.uint64)
_LAST_BYTES = ~_FIRST_BYTES[::-1]
_WHOLE_NUMBER = re.compile(rb"-?[0-9]{1,18}")


class LongValues:
    """The categorical values of more than eight bytes, by key."""

    def __init__(self) -> None:
        self.by_key: dict[int, bytes] = {}

    def key(self, value: bytes) -> int:
        """Return the key of ``value`` and remember it.

        Raises:
            ValueError: Another value has the same 56-bit digest.
        """
        digest = hashlib.blake2b(value, digest_size=7).digest()
        key = LONG_MARK | int.from_bytes(digest, "little")
        if self.by_key.setdefault(key, value) != value:
            raise ValueError(f"values {value!r} and {self.by_key[key]!r} have the same 56-bit digest; rename one.")
        return key


def pack(values: list[bytes], long_values: LongValues) -> Keys:
    """Return the keys of ``values``, one by one."""
    keys = [int.from_bytes(value, "little") if len(value) <= KEY_BYTES else long_values.key(value) for value in values]
    return np.array(keys, dtype=np.uint64)


def unpack(keys: Keys, long_values: LongValues) -> list[bytes]:
    """Return the values of ``keys``: the inverse of ``pack``."""
    short = keys.astype("<u8").view("S8").tolist()
    if not long_values.by_key:
        return list(short)
    return [long_values.by_key.get(key, value) for key, value in zip(keys.tolist(), short, strict=True)]


def categorical(fields: Fields, columns: slice, long_values: LongValues) -> Keys:
    """Return [columns, num_rows] the keys of the fields."""
    lengths = fields.lengths[:, columns]
    keys = fields.words_from(columns)
    keys &= _FIRST_BYTES[np.minimum(lengths, KEY_BYTES)]
    first = columns.start
    for row, column in zip(*np.nonzero(lengths > KEY_BYTES), strict=True):
        keys[row, column] = long_values.key(fields.raw(row, first + column))
    return np.ascontiguousarray(keys.T)


@dataclass(frozen=True)
class WholeNumbers:
    """Whole numbers of some columns; every array is [columns, num_rows].

    Attributes:
        values: The numbers, 0 where missing or bad.
        missing: True where the field is empty.
        bad: True where the field is neither empty nor an optional minus and 1 to 18 digits.
    """

    values: NDArray[np.int64]
    missing: Mask
    bad: Mask


def whole_numbers(fields: Fields, columns: slice) -> WholeNumbers:
    """Parse decimal numbers: eight digits at a time in one 64-bit word, longer ones one by one."""
    negative = (fields.words_from(columns) & np.uint64(0xFF)) == ord("-")
    lengths = fields.lengths[:, columns]
    negative &= lengths > 0
    num_digits = lengths - negative
    digits = (fields.words_until(columns) ^ np.uint64(0x3030303030303030)) & _LAST_BYTES[np.minimum(num_digits, KEY_BYTES)]
    bad = ((digits + np.uint64(0x7676767676767676)) | digits) & np.uint64(0x8080808080808080) != 0
    bad |= negative & (num_digits == 0)
    values = _decimal(digits).astype(np.int64)
    for row, column in zip(*np.nonzero(num_digits > KEY_BYTES), strict=True):
        text = fields.raw(row, columns.start + column)
        bad[row, column] = not _WHOLE_NUMBER.fullmatch(text)
        values[row, column] = 0 if bad[row, column] else abs(int(text))
    np.negative(values, out=values, where=negative)
    values[bad] = 0
    return WholeNumbers(*(np.ascontiguousarray(array.T) for array in (values, lengths == 0, bad)))


def _decimal(digits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the number whose eight decimal digits are the bytes of each word, most significant digit lowest."""
    pairs = (digits * np.uint64(10) + (digits >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    fours = (pairs * np.uint64(100) + (pairs >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    return (fours * np.uint64(10000) + (fours >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
