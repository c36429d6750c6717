"""Values of any kind, numbered: every value has one number and every number one value.

Groups, slices, frequencies and joins all number their values here. A value is what a file says: the texts "7" and "007"
are two, the text "None" is not a missing value, and a missing value is no value. Whole numbers are one kind, however
many bits they have and whether or not a file made floats of them; where text meets numbers, a number is its decimal
digits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Column: TypeAlias = pa.Array | pa.ChunkedArray
Codes = NDArray[np.int64]

MISSING = "(missing)"
_RESERVED = re.compile(r'"|\(missing\)$|$|[\d,]+ other values$')
_DIGITS = {"halffloat": 11, "float": 24, "double": 53}
"""From 2 to this power on floats do not tell whole numbers apart."""
_TEXT, _WHOLE, _REAL = pa.large_string(), pa.int64(), pa.float64()


@dataclass(frozen=True)
class Numbered:
    """Rows as numbers of their values.

    Args:
        codes: [N] numbers from 0, in the order in which values first occur; -1 where the value is missing.
        values: [V] the values, each once, none of them missing.
    """

    codes: Codes
    values: pa.Array

    @property
    def labels(self) -> list[str]:
        """The values as words, no two alike."""
        return [label_of(value) for value in self.values.to_pylist()]


def numbered(column: Column, name: str = "values") -> Numbered:
    """Number the values of one column.

    Raises:
        ValueError: the values are lists or structures, infinite, or floats too large to tell whole numbers apart.
    """
    return numbered_together([column], name)[0]


def numbered_together(columns: Sequence[Column], name: str = "values") -> list[Numbered]:
    """Number the values of several columns, a value of more than one of them with one number.

    Raises:
        ValueError: as `numbered`, or if the columns hold kinds that no value can share, such as dates and numbers.
    """
    columns_alike = alike([canonical(column, name) for column in columns], name)
    encoded = pa.chunked_array(columns_alike, columns_alike[0].type).combine_chunks().dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    ends = np.cumsum([len(column) for column in columns])
    return [Numbered(part, encoded.dictionary) for part in np.split(codes, ends[:-1])]


def canonical(column: Column, name: str = "values") -> pa.Array:
    """The same values in the one type of their kind: text, whole numbers, floats, truth values or times.

    Raises:
        ValueError: as `numbered`.
    """
    values = decoded(column)
    kind = values.type
    if pa.types.is_null(kind) or _is_text(kind):
        return values.cast(_TEXT)
    if pa.types.is_floating(kind):
        return _whole_if_all_are(values.cast(_REAL), name, _DIGITS[str(kind)])
    if pa.types.is_integer(kind):
        return _from_integers(values)
    if pa.types.is_decimal(kind):
        return _from_decimals(values) if kind.scale else _from_integers(values)
    if pa.types.is_timestamp(kind):
        return _microseconds(values)
    if pa.types.is_fixed_size_binary(kind):
        return _hex(values)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _from_bytes(values, name)
    if pa.types.is_boolean(kind) or pa.types.is_temporal(kind):
        return values
    raise ValueError(f"column '{name}': holds {kind}; a name must be text, a number, a truth value or a time.")


def label_of(value: object) -> str:
    """A value as a word. No two values of a column have the same; a missing value is MISSING."""
    if value is None:
        return MISSING
    text = str(value)
    if not text.isprintable():
        return json.dumps(text)
    # What could be taken for another word, or not be seen, is quoted.
    return json.dumps(text, ensure_ascii=False) if _RESERVED.match(text) or text != text.strip() else text


def decoded(column: Column) -> pa.Array:
    """One array of what a dictionary, another encoding or an extension stands for."""
    values = column
    if isinstance(values.type, pa.BaseExtensionType):
        storage = [chunk.storage for chunk in _chunks(values)]
        values = pa.chunked_array(storage, values.type.storage_type)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_run_end_encoded(values.type):
        values = pc.run_end_decode(values)
    if values.type == pa.string():
        values = values.cast(_TEXT)  # whose chunks can be joined whatever their size
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type holds several values a row."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _chunks(column: Column) -> list[pa.Array]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _from_integers(values: pa.Array) -> pa.Array:
    """Whole numbers in 64 bits, or their digits where these are not enough."""
    try:
        return values.cast(_WHOLE)
    except pa.ArrowInvalid:
        return values.cast(_TEXT)


def _from_decimals(values: pa.Array) -> pa.Array:
    """Decimals as whole numbers where all are, else as digits without the zeros that say nothing."""
    texts = pc.replace_substring_regex(values.cast(_TEXT), r"\.?0+$", "")
    try:
        return texts.cast(_WHOLE)
    except pa.ArrowInvalid:
        return texts


def _whole_if_all_are(values: pa.Array, name: str, digits: int) -> pa.Array:
    """Floats as whole numbers where all are, as pandas writes those of a column with a missing value; NaN is none."""
    numbers = values.to_numpy(zero_copy_only=False)  # NaN where a value is missing
    known = numbers[~np.isnan(numbers)]
    if len(known) and not np.abs(known).max() < 2**digits:
        raise ValueError(
            f"column '{name}': {known[np.argmax(np.abs(known))]:.17g} is a float of 2**{digits} or more, which may "
            "stand for several whole numbers; write names as integers or text."
        )
    absent = np.isnan(numbers)
    if np.array_equal(known, np.floor(known)):
        return pa.array(np.where(absent, 0, numbers).astype(np.int64), mask=absent)
    return pa.array(numbers + 0.0, mask=absent)  # -0.0 is 0.0


def _microseconds(values: pa.Array) -> pa.Array:
    """Times in the unit that most files use, unless something would be lost."""
    try:
        return values.cast(pa.timestamp("us", values.type.tz))
    except pa.ArrowInvalid:
        return values


def _hex(values: pa.Array) -> pa.Array:
    """Bytes of one length, as those of a UUID, as hexadecimal digits."""
    return pa.array([None if value is None else value.hex() for value in values.to_pylist()], _TEXT)


def _from_bytes(values: pa.Array, name: str) -> pa.Array:
    try:
        return values.cast(pa.large_binary()).cast(_TEXT)
    except pa.ArrowInvalid as error:
        raise ValueError(f"column '{name}': holds bytes that are no UTF-8 text; write names as text.") from error


def alike(columns: Sequence[pa.Array], name: str = "values") -> list[pa.Array]:
    """Canonical columns in one type that all their values have.

    Raises:
        ValueError: if there is none.
    """
    known = [column.type for column in columns if column.null_count < len(column)]
    kinds = set(known)
    if not kinds:
        return [column.cast(_TEXT) for column in columns]
    wanted: Any = kinds.pop() if len(kinds) == 1 else None
    if wanted is None and kinds <= {_TEXT, _WHOLE, _REAL}:
        wanted = _TEXT if _TEXT in kinds else _REAL
    if wanted is None:
        said = ", ".join(sorted(map(str, dict.fromkeys(known))))
        raise ValueError(f"column '{name}': the files hold different types, {said}.")
    return [
        pa.nulls(len(column), wanted) if column.null_count == len(column) else _cast(column, wanted, name)
        for column in columns
    ]


def _cast(column: pa.Array, wanted: pa.DataType, name: str) -> pa.Array:
    try:
        return column.cast(wanted)
    except pa.ArrowInvalid as error:
        raise ValueError(f"column '{name}': {error}; the files hold different types.") from error
