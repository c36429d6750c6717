"""What a folder of clicks knows of its preparation, for new rows of the same kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.prepare.clicks.click_spec import ClickSpec
from recsys.prepare.clicks.dense_values import DenseTransform
from recsys.prepare.clicks.raw_keys import LongValues, pack
from recsys.prepare.clicks.row_split import SplitBy
from recsys.prepare.files.first_line import first_line
from recsys.prepare.files.prepared_files import FORMAT_VERSION, SCHEMA
from recsys.prepare.files.unreadable import UNREADABLE
from recsys.prepare.files.vocabulary import Vocabulary


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _are_features(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_feature, value))


def _is_feature(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        return False
    if not isinstance(entry.get("transform", {}), dict):
        return False
    has_ids = entry.get("kind") in ("categorical", "multi_valued")
    return _is_count(entry.get("num_embeddings")) if has_ids else entry.get("kind") == "dense"


def _is_format(value: Any) -> bool:
    """Words of the files' format: lists of texts."""
    return value is None or (isinstance(value, dict) and all(map(_are_texts, value.values())))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


_ENTRIES: dict[str, Callable[[Any], bool]] = {
    "recipe": lambda value: value is None or isinstance(value, dict),
    "columns": lambda value: isinstance(value, dict),
    "features": _are_features,
    "format": _is_format,
    "split": lambda value: isinstance(value, dict) and isinstance(value.get("by"), str),
    "min_count": _is_count,
    "hash_bits": lambda value: value is None or _is_count(value),
    "number_unseen": lambda value: value is None or isinstance(value, list),
}
"""What schema.json must say, for new rows to be prepared alike."""


class EarlierFolder:
    """A folder of clicks that `recsys prepare` has made.

    Attributes:
        path: Of the folder.
        schema: Content of its schema.json.
        recipe: How a publisher's files were taken; None of anybody's files, of which ``spec`` says it.
        transforms: Fitted transforms, by dense column.
    """

    def __init__(self, path: Path) -> None:
        """Read schema.json.

        Raises:
            ValueError: There is no such folder, it holds no clicks, or it does not say how its rows were taken.
        """
        self.path = path
        try:
            self.schema: dict[str, Any] = json.loads((path / SCHEMA).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ValueError(f"'{path}' is no prepared folder: it has no {SCHEMA}.") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"'{path / SCHEMA}' is not valid JSON ({error}); prepare the folder again.") from error
        if not isinstance(self.schema, dict) or "num_items" in self.schema:
            raise ValueError(
                f"'{path}' holds sequences, and apply knows rows of clicks alone; prepare old and new events together "
                f"with recsys prepare sessions, and carry a checkpoint over with --remap '{path}'."
            )
        version = self.schema.get("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(f"'{path / SCHEMA}': format_version must be {FORMAT_VERSION}, got {version!r}.")
        self.recipe: dict[str, object] | None = self.schema.get("recipe")
        if self.recipe is None and "columns" not in self.schema:
            raise ValueError(
                f"'{path}' does not say how its rows were taken from their files: it was made by hand, or by an "
                "earlier release; prepare it again with recsys prepare."
            )
        for name, fits in _ENTRIES.items():
            if name == "columns" and self.recipe is not None:
                continue
            if not fits(self.schema.get(name)):
                raise ValueError(
                    f"'{path / SCHEMA}': '{name}' is not as a preparation writes it, got "
                    f"{json.dumps(self.schema.get(name))[:80]}; prepare the folder again."
                )
        entries = {entry["name"]: entry for entry in self.schema["features"]}
        self.transforms: Mapping[str, DenseTransform] = {
            name: self._transform(name, entry["transform"]) for name, entry in entries.items() if "transform" in entry
        }
        self._names = [
            name for name, entry in entries.items() if "num_embeddings" in entry and "transform" not in entry
        ]
        self._sizes = {name: entries[name]["num_embeddings"] for name in self._names}
        self._binned = [name for name, transform in self.transforms.items() if transform.kind == "bins"]

    def _transform(self, name: str, entry: Mapping[str, Any]) -> DenseTransform:
        try:
            return DenseTransform.from_json(entry)
        except ValueError as error:
            raise ValueError(
                f"'{self.path / SCHEMA}': the transform of feature '{name}': {error}; prepare the folder again."
            ) from error

    @property
    def spec(self) -> ClickSpec:
        """What the columns of anybody's files were.

        Raises:
            ValueError: schema.json does not hold what a program has written.
        """
        where = str(self.path / SCHEMA)
        spec = ClickSpec.from_json(self.schema["columns"], where)
        features, columns = ({each["name"] for each in self.schema["features"]}, {rule.name for rule in spec.columns})
        if features != columns:
            odd = sorted(features ^ columns)[0]
            has, lacks = ("features", "columns") if odd in features else ("columns", "features")
            raise ValueError(f"{where}: '{odd}' is one of {has} and none of {lacks}; prepare the folder again.")
        return spec

    @property
    def split_by(self) -> SplitBy:
        """How rows to train on were split.

        Raises:
            ValueError: No row was, as all are there to be scored.
        """
        by: SplitBy = self.schema["split"]["by"]
        if by == "test":
            raise ValueError(
                f"'{self.path}' holds rows to score and none to train on; --grow goes on from a folder with train rows."
            )
        return by

    @property
    def missing(self) -> tuple[str, ...]:
        """Texts that stood for a missing value."""
        return tuple((self.schema.get("format") or {}).get("missing", ()))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of files without a header; else none."""
        return tuple((self.schema.get("format") or {}).get("columns", ()))

    def vocabularies(self, long_values: LongValues) -> dict[str, Vocabulary]:
        """The vocabulary of every feature, with its counts in train.

        Raises:
            ValueError: A file is missing, damaged, or does not fit the schema.
        """
        if self.schema.get("hash_bits") is not None:
            return {}
        return {name: self._vocabulary(name, long_values) for name in self._names}

    def _vocabulary(self, name: str, long_values: LongValues) -> Vocabulary:
        values = self._read("vocabulary", name, "value", first_id=1)
        if values.null_count or len(values.unique()) < len(values):
            raise ValueError(f"'{self.path}': two ids of feature '{name}' have one value; prepare the folder again.")
        counts = self._read("counts", name, "count").to_numpy()
        sizes = {"values": len(values) + 1, "counts": len(counts), "num_embeddings": self._sizes[name]}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"'{self.path}': feature '{name}' has {len(values):,} values, which with id 0 make "
                f"{len(values) + 1:,} ids, but counts of {len(counts):,} and num_embeddings {self._sizes[name]}; "
                "prepare the folder again."
            )
        keys = pack([value.encode() for value in values.to_pylist()], long_values)
        return Vocabulary(keys, counts[1:].astype(np.int64), int(counts[0]))

    def bin_counts(self) -> dict[str, tuple[int, ...]]:
        """How often each bin occurs in train."""
        return {name: tuple(self._read("counts", name, "count").to_pylist()) for name in self._binned}

    def _read(self, folder: str, name: str, column: str, first_id: int = 0) -> pa.ChunkedArray:
        path = self.path / folder / f"{name}.parquet"
        try:
            table = pq.read_table(path, columns=["id", column]).sort_by("id")
        except (*UNREADABLE, KeyError) as error:
            raise ValueError(f"'{path}' cannot be read ({first_line(error)}); prepare the folder again.") from error
        fits = pa.types.is_integer if column == "count" else _is_text
        if not fits(table[column].type) or table[column].null_count:
            raise ValueError(
                f"'{path}': column '{column}' is of type {table[column].type} and has {table[column].null_count} "
                "nulls, which no preparation writes; prepare the folder again."
            )
        if not np.array_equal(table["id"].to_numpy(), np.arange(first_id, first_id + len(table))):
            raise ValueError(f"'{path}': ids must be {first_id}, {first_id + 1} and so on; prepare the folder again.")
        return table[column]
