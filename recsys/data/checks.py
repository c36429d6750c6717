"""What a Parquet file must hold; every complaint names the file, the row and the column."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.data.schema import Column, Schema


@dataclass(frozen=True)
class Place:
    """Where a stretch of a column comes from: a file and the place of its first row there."""

    path: Path
    first_row: int
    column: str

    def refuse(self, row: int, problem: str) -> NoReturn:
        """Raise a ValueError about the stretch's row `row`."""
        raise ValueError(f"{self.path}, row {self.first_row + row}, column '{self.column}': {problem}.")


def check_types(path: Path, stored: pa.Schema, schema: Schema) -> None:
    """Every column of the schema is there and holds the right type.

    Raises:
        ValueError: naming the file and the column that is missing or of another type.
    """
    for name, kind in ((schema.label, "label"), (schema.weight, "weight")):
        if name is not None:
            _check_type(path, stored, name, kind, _is_number, "numbers")
    if schema.group is not None:
        _check_type(path, stored, schema.group, "group", pa.types.is_integer, "integers")
    for name in schema.keys:
        _check_type(path, stored, name, "key", lambda found: True, "")
    for column in schema.columns:
        if column.kind == "dense":
            _check_type(path, stored, column.name, "dense", _is_number, "numbers")
        elif column.kind == "categorical":
            _check_type(path, stored, column.name, "categorical", pa.types.is_integer, "integers")
        else:
            _check_type(path, stored, column.name, "multi_valued", _is_id_list, "lists of integers")


def _check_type(
    path: Path, stored: pa.Schema, name: str, kind: str, accepts: Callable[[pa.DataType], bool], expected: str
) -> None:
    if name not in stored.names:
        raise ValueError(f"{path}: column '{name}' of schema.json is missing; the file has {', '.join(stored.names)}.")
    if stored.names.count(name) > 1:
        raise ValueError(f"{path}: column '{name}' is there twice; write it once.")
    found = stored.field(name).type
    if not accepts(found):
        raise ValueError(f"{path}: column '{name}' is {kind} and must hold {expected}, got {found}.")


def _is_number(found: pa.DataType) -> bool:
    return bool(pa.types.is_floating(found) or pa.types.is_integer(found))


def _is_id_list(found: pa.DataType) -> bool:
    is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
    return bool(is_list and pa.types.is_integer(found.value_type))


def check_not_null(array: pa.Array, place: Place) -> None:
    """No cell is null."""
    if array.null_count:
        place.refuse(int(np.flatnonzero(array.is_null())[0]), "the value is null")


def check_labels(values: NDArray[Any], place: Place) -> None:
    """Every label is 0 or 1."""
    valid = (values == 0) | (values == 1)
    if not valid.all():
        row = int(np.argmin(valid))
        place.refuse(row, f"the label is {values[row]}, must be 0 or 1")


def check_weights(values: NDArray[Any], place: Place) -> None:
    """Every weight is finite and at least 0."""
    valid = np.isfinite(values) & (values >= 0)
    if not valid.all():
        row = int(np.argmin(valid))
        place.refuse(row, f"the weight is {values[row]}, must be finite and at least 0")


def check_groups(values: NDArray[Any], place: Place) -> None:
    """Every number of a group is from 0, nobody known, to what 63 bits hold."""
    valid = (values >= 0) & (values <= np.iinfo(np.int64).max)
    if not valid.all():
        row = int(np.argmin(valid))
        place.refuse(row, f"the group is {values[row]}, must be in [0, 2**63)")


def check_float32(values: NDArray[Any], place: Place) -> NDArray[np.float32]:
    """The values as float32, all of them finite."""
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32, copy=False)
    finite = np.isfinite(narrow)
    if not finite.all():
        row = int(np.argmin(finite))
        place.refuse(row, f"the value is {values[row]}, must be finite in float32")
    return narrow


def check_ids(values: NDArray[Any], column: Column, place: Place, offsets: NDArray[Any] | None = None) -> None:
    """Every id is in [0, num_embeddings); `offsets` tell which row a value of a list belongs to."""
    num_embeddings = column.num_embeddings
    assert num_embeddings is not None
    if values.size and (values.min() < 0 or values.max() >= num_embeddings):
        at = int(np.flatnonzero((values < 0) | (values >= num_embeddings))[0])
        row = at if offsets is None else int(np.searchsorted(offsets, at, side="right")) - 1
        place.refuse(row, f"the id {values[at]} is outside [0, num_embeddings={num_embeddings})")
