"""A 64-bit key for each categorical value, without a Python object per value.

Up to eight bytes, the key is the value itself: its UTF-8 bytes, zero-padded, first byte lowest. A longer value, or one
that ends in a zero byte, gets a key whose top byte is 0xFF, which no UTF-8 text contains, over 56 bits of its BLAKE2
digest; ``LongValues`` remembers it and refuses two values with one digest. Key 0 is the missing value.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

MISSING = 0
KEY_BYTES = 8
LONG_MARK = 0xFF << 56
_HALF = np.uint64(32)


class LongValues:
    """The categorical values that are not their own keys, by key."""

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
    keys = [long_values.key(value) if _is_long(value) else int.from_bytes(value, "little") for value in values]
    return np.array(keys, dtype=np.uint64)


def _is_long(value: bytes) -> bool:
    return len(value) > KEY_BYTES or value.endswith(b"\0")


def unpack(keys: Keys, long_values: LongValues) -> list[bytes]:
    """Return the values of ``keys``: the inverse of ``pack``."""
    short: list[bytes] = keys.astype("<u8").view("S8").tolist()
    if not long_values.by_key:
        return short
    return [long_values.by_key.get(key, value) for key, value in zip(keys.tolist(), short, strict=True)]


def keys_of(texts: pl.Series, long_values: LongValues) -> Keys:
    """Return the key of each text, read from Arrow's string views: four bytes of length, then up to twelve of text."""
    if len(texts) == 0:
        return np.empty(0, dtype=np.uint64)
    array = texts.rechunk().fill_null("").to_arrow(compat_level=pl.CompatLevel.newest())
    views = np.frombuffer(array.buffers()[1], np.uint64)[2 * array.offset :][: 2 * len(array)]
    keys = (views[0::2] >> _HALF) | (views[1::2] << _HALF)
    lengths = views[0::2].astype(np.uint32)
    last_byte = keys >> (np.uint64(8) * (lengths.clip(1, KEY_BYTES).astype(np.uint64) - np.uint64(1)))
    long = np.flatnonzero((lengths > KEY_BYTES) | ((lengths > 0) & (last_byte == 0)))
    if len(long):
        # Each distinct text once: a digest costs more than a place in a dictionary.
        coded = texts.gather(long).to_arrow().dictionary_encode()
        distinct = pack([text.encode() for text in coded.dictionary.to_pylist()], long_values)
        keys[long] = distinct[coded.indices.to_numpy()]
    return keys


@dataclass(frozen=True)
class KeyCodes:
    """Keys as places in the list of the distinct ones: ``dictionary[codes]`` are the keys."""

    codes: NDArray[np.int32]
    dictionary: Keys


def code_keys(keys: Keys) -> KeyCodes:
    """Return the distinct keys and where each key is among them."""
    encoded = pa.array(keys).dictionary_encode()
    return KeyCodes(encoded.indices.to_numpy(), encoded.dictionary.to_numpy())
