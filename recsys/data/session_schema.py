"""What a prepared folder of sessions holds, read from its schema.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.argument_types import check_fields, typed
from recsys.data.schema import Column, Kind, identity_of, read_marks
from recsys.data.schema_file import check_files, read_object, schema_file
from recsys.prepare.files.fingerprints import Marks
from recsys.prepare.files.first_line import first_line

T = TypeVar("T")

FORMAT_VERSION = 1
ITEMS = "items.parquet"
COMMAND = "recsys prepare sessions --set SET --raw FOLDER --out {path}"


@dataclass(frozen=True)
class SessionSplitInfo:
    """Number of rows of a split, of the events in them, and of the items to be predicted (0 in training)."""

    num_rows: int
    num_events: int
    num_targets: int

    def __post_init__(self) -> None:
        """Refuse fields of another type, and negative numbers."""
        check_fields(self)
        if min(vars(self).values()) < 0:
            raise ValueError(f"SessionSplitInfo: numbers must be at least 0, got {self}.")


@dataclass(frozen=True)
class SessionSchema:
    """Items, their metadata and the splits of a prepared folder; item ids are 1..num_items, 0 is padding.

    Attributes:
        path: the folder.
        dataset: name of the data set.
        num_items: V.
        num_users: users, or sessions where nobody is known.
        has_times: whether events have times, in seconds.
        columns: metadata of items, those of items.parquet.
        vectors: width of each matrix [V + 1, T] in vectors/NAME.npy, such as embedded texts.
        splits: sizes of train, val and test.
        checksum: SHA-256 of the sequences; two folders with one checksum hold the same events in the same order, at the
            same times and in the same splits.
        marks: fingerprints that the preparation has written; they are computed where it has not.
    """

    path: Path
    dataset: str
    num_items: int
    num_users: int
    has_times: bool
    columns: tuple[Column, ...]
    vectors: Mapping[str, int]
    splits: Mapping[str, SessionSplitInfo]
    checksum: str
    marks: Marks = field(default_factory=dict)

    @classmethod
    @typed
    def read(cls, path: str | Path) -> SessionSchema:
        """Read and check PATH/schema.json.

        Raises:
            FileNotFoundError: if there is no such folder or file; the message has the command that makes it.
            ValueError: if the file is not valid, or is not one of sessions; the message names the entry.
        """
        folder = Path(path)
        file = schema_file(folder, lambda path: COMMAND.format(path=path))
        return _Parser(file).schema(folder)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data: what every id stands for, and what items are described by."""
        items = Column("item", "categorical", self.num_items + 1)
        return identity_of(self.path, self.marks, (items, *self.columns))

    @property
    def item_columns(self) -> tuple[Column, ...]:
        """Metadata of items: categorical, multi-valued and dense."""
        return self.columns

    def item_values(self, name: str) -> NDArray[np.int64]:
        """[V + 1] a categorical feature's id for every item; 0 is a missing value, and entry 0 is of no item.

        Raises:
            ValueError: if items have no such categorical column, or its values do not fit the schema.
        """
        column = self._item_column(name, "categorical")
        values = self._integers(ITEMS, name)
        self._check_range(column, values)
        return values

    def item_bags(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A multi-valued feature's ids, item after item, and how many each item has [V + 1]; none at entry 0.

        Raises:
            ValueError: if items have no such multi-valued column, or its values do not fit the schema.
        """
        column = self._item_column(name, "multi_valued")
        lists = self._column(ITEMS, name).combine_chunks()
        if not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)):
            raise ValueError(f"{self.path / ITEMS}: column '{name}' must hold lists of integers, got {lists.type}.")
        flat = lists.flatten()
        if not pa.types.is_integer(flat.type) or flat.null_count:
            raise ValueError(f"{self.path / ITEMS}: column '{name}' must hold lists of integers, got {flat.type}.")
        values = flat.to_numpy(zero_copy_only=False).astype(np.int64)
        self._check_range(column, values)
        lengths = pc.fill_null(pc.list_value_length(lists), 0)
        return values, lengths.to_numpy(zero_copy_only=False).astype(np.int64)

    def item_numbers(self, name: str) -> NDArray[np.float64]:
        """[V + 1] a dense feature of every item; a missing value is 0, and entry 0 is of no item.

        Raises:
            ValueError: if items have no such dense column, or a value is null or not finite.
        """
        self._item_column(name, "dense")
        column = self._column(ITEMS, name)
        values = column.cast("float64").to_numpy().astype(np.float64)
        if column.null_count or not np.isfinite(values).all():
            raise ValueError(f"{self.path / ITEMS}: column '{name}' must hold finite numbers.")
        return values

    def _item_column(self, name: str, kind: Kind) -> Column:
        known = [column for column in self.item_columns if column.kind == kind]
        column = next((column for column in known if column.name == name), None)
        if column is None:
            have = ", ".join(column.name for column in known) or "none"
            raise ValueError(f"items of '{self.path}' have no {kind} column '{name}' (they have: {have}).")
        return column

    def _check_range(self, column: Column, values: NDArray[np.int64]) -> None:
        assert column.num_embeddings is not None
        if len(values) and (values.min() < 0 or values.max() >= column.num_embeddings):
            raise ValueError(
                f"{self.path / ITEMS}: column '{column.name}' must be in [0, num_embeddings="
                f"{column.num_embeddings}), got {values.min()}..{values.max()}."
            )

    def item_counts(self) -> NDArray[np.int64]:
        """[V + 1] how often each item is an event of the train split; 0 at entry 0.

        Raises:
            ValueError: if a count is negative or no whole number, or ids are not 0..num_items in order.
        """
        return self._counts

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        counts = self._integers("counts/item.parquet", "count")
        ids = self._integers("counts/item.parquet", "id")
        if not np.array_equal(ids, np.arange(self.num_items + 1)):
            raise ValueError(f"{self.path / 'counts/item.parquet'}: ids must be 0..{self.num_items} in order.")
        if counts.min(initial=0) < 0:
            raise ValueError(f"{self.path / 'counts/item.parquet'}: counts must be at least 0, got {counts.min()}.")
        return counts

    def item_vectors(self, name: str) -> NDArray[np.float32]:
        """[V + 1, T] a matrix of vectors/; zeros for items without one.

        Raises:
            ValueError: if there is none of that name, or it is not finite or of another shape.
        """
        if name not in self.vectors:
            raise ValueError(f"'{self.path}' has no vectors '{name}' (it has: {', '.join(self.vectors) or 'none'}).")
        path = self.path / "vectors" / f"{name}.npy"
        try:
            found: NDArray[Any] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{path}: cannot be read as a matrix ({error}); prepare the folder again.") from error
        shape = (self.num_items + 1, self.vectors[name])
        if found.shape != shape or not np.issubdtype(found.dtype, np.floating):
            raise ValueError(f"{path}: must be floats {list(shape)}, got {found.dtype} {list(found.shape)}.")
        if not np.isfinite(found).all():
            raise ValueError(f"{path}: row {int(np.argwhere(~np.isfinite(found))[0][0])} is not finite.")
        return found.astype(np.float32, copy=False)

    def _integers(self, file: str, name: str) -> NDArray[np.int64]:
        """A column of whole numbers without a null."""
        column = self._column(file, name)
        if not pa.types.is_integer(column.type) or column.null_count:
            problem = f"has {column.null_count} nulls" if column.null_count else f"is of type {column.type}"
            raise ValueError(f"{self.path / file}: column '{name}' must hold integers, and {problem}.")
        return column.to_numpy().astype(np.int64)

    def _column(self, file: str, name: str) -> Any:
        """A column with an entry for every item, as Arrow has it."""
        path = self.path / file
        try:
            values = pq.read_table(path, columns=[name])[name]
        except (pa.ArrowException, OSError, KeyError) as error:
            problem = first_line(error)
            raise ValueError(f"{path}: cannot be read as a file with a column '{name}' ({problem}).") from error
        if len(values) != self.num_items + 1:
            raise ValueError(f"{path}: must have a row for each of ids 0..{self.num_items}, got {len(values)} rows.")
        if file == ITEMS and name != "item":
            self.check_item_order()
        return values

    def check_item_order(self) -> None:
        """Items are read by position: where items.parquet says which rows they are, these must be 0..num_items.

        Raises:
            ValueError: if the rows are in another order.
        """
        path = self.path / ITEMS
        if path.is_file() and "item" in pq.read_schema(path).names and not self._has_items_in_order:
            raise ValueError(f"{path}: column 'item' must hold 0..{self.num_items} in order; sort the rows by it.")

    @cached_property
    def _has_items_in_order(self) -> bool:
        return np.array_equal(self._integers(ITEMS, "item"), np.arange(self.num_items + 1))


class _Parser:
    """Turns schema.json into a SessionSchema, or says what is wrong with it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def schema(self, folder: Path) -> SessionSchema:
        content = self._content()
        splits, vectors = self._get(content, "splits", dict), self._get(content, "vectors", dict)
        columns = tuple(self._column(entry) for entry in self._get(content, "item_columns", list))
        names = [column.name for column in columns]
        if len(set(names)) < len(names):
            self._fail(f"item_columns must differ, got {', '.join(names)}")
        if not all(type(width) is int and width > 0 for width in vectors.values()):
            self._fail(f"vectors must map names to widths, whole numbers from 1, got {vectors!r}")
        for key in ("num_sequences", "num_events"):
            _ = key not in content or self._positive(content, key)
        return SessionSchema(
            path=folder,
            dataset=self._get(content, "dataset", str),
            num_items=self._positive(content, "num_items"),
            num_users=self._positive(content, "num_users"),
            has_times=self._get(content, "has_times", bool),
            columns=columns,
            vectors=vectors,
            splits={name: self._split(entry) for name, entry in splits.items()},
            checksum=self._get(content, "checksum", str),
            marks=read_marks(content, self.file),
        )

    def _content(self) -> dict[str, Any]:
        content = read_object(self.file)
        if "num_items" not in content:
            self._fail("not a folder of sessions; make one with recsys prepare sessions, or use CTRDataModule")
        if content.get("format_version") != FORMAT_VERSION:
            self._fail(f"format_version must be {FORMAT_VERSION}, got {content.get('format_version')!r}")
        check_files(self.file.parent, content)
        return content

    def _positive(self, entry: Any, key: str) -> int:
        value = self._get(entry, key, int)
        if value < 1:
            self._fail(f"{key} must be at least 1, got {value}")
        return value

    def _column(self, entry: Any) -> Column:
        name, kind = self._get(entry, "name", str), self._get(entry, "kind", str)
        if kind not in get_args(Kind):
            self._fail(f"item column '{name}': kind must be one of {', '.join(get_args(Kind))}, got '{kind}'")
        num_embeddings = None if kind == "dense" else self._positive(entry, "num_embeddings")
        return Column(name, cast(Kind, kind), num_embeddings, "mean" if kind == "multi_valued" else None)

    def _split(self, entry: Any) -> SessionSplitInfo:
        return SessionSplitInfo(*(self._get(entry, name, int) for name in ("num_rows", "num_events", "num_targets")))

    def _get(self, entry: Any, key: str, kind: type[T]) -> T:
        value = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self._fail(f"{key} must be of type {kind.__name__}, got {value!r}")
        return value

    def _fail(self, problem: str) -> NoReturn:
        raise ValueError(f"{self.file}: {problem}.")
