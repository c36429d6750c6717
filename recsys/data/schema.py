"""What a prepared data folder holds: the columns, the splits and where the counts are, read from its schema.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, cast, get_args

from recsys.argument_types import check_fields, typed
from recsys.data.schema_file import check_files, read_object, schema_file
from recsys.prepare.files.fingerprints import Marks, prepared_marks

Kind = Literal["dense", "categorical", "multi_valued"]
Pooling = Literal["sum", "mean"]

T = TypeVar("T")

FORMAT_VERSION = 1
SCRIPTS = {
    "criteo": "recsys prepare criteo --raw train.txt --out {path}",
    "avazu": "recsys prepare avazu --raw train.gz --out {path}",
    "ml-1m": "recsys prepare movielens --raw ml-1m --out {path}",
    "movielens": "recsys prepare movielens --raw ml-1m --out {path}",
}


@dataclass(frozen=True)
class Column:
    """One feature as stored: a number (dense), an id (categorical) or a list of ids (multi_valued).

    Args:
        name: the Parquet column.
        kind: what a cell holds.
        num_embeddings: number of ids V, ids are in [0, V); None for a dense column.
        pooling: how a multi_valued column's vectors become one; None for the other kinds.
        scale: what a dense column's numbers were made by, such as the mean and deviation of train; None if not known.
    """

    name: str
    kind: Kind
    num_embeddings: int | None = None
    pooling: Pooling | None = None
    scale: str | None = None

    def __post_init__(self) -> None:
        """Refuse fields of another type, and sizes and poolings that its kind has not."""
        check_fields(self)
        number, has_ids = self.num_embeddings, self.kind != "dense"
        if not self.name or has_ids != (number is not None) or (number is not None and number < 1):
            wanted = f"and a {self.kind} one num_embeddings {'of at least 1' if has_ids else 'None'}"
            raise ValueError(f"Column '{self.name}': it must have a name, {wanted}, got {number}.")
        if (self.pooling is not None) != (self.kind == "multi_valued"):
            raise ValueError(
                f"Column '{self.name}': pooling is of a multi_valued column and of no other, got {self.pooling!r} with "
                f"kind {self.kind!r}."
            )


@dataclass(frozen=True)
class SplitInfo:
    """Number of rows of a split, and the fraction of them with label 1."""

    num_rows: int
    label_rate: float | None

    def __post_init__(self) -> None:
        """Refuse fields of another type, and numbers that are none of rows."""
        check_fields(self)
        if self.num_rows < 0 or (self.label_rate is not None and not 0 <= self.label_rate <= 1):
            raise ValueError(
                f"SplitInfo: num_rows must be at least 0 and label_rate in [0, 1], got {self.num_rows} and "
                f"{self.label_rate}."
            )


@dataclass(frozen=True)
class Schema:
    """The columns and splits of a prepared data folder.

    Attributes:
        path: the folder.
        dataset: name of the data set.
        label: the column of 0 and 1; None for rows without labels.
        columns: features.
        splits: sizes.
        weight: the column of weights of rows, if there is one.
        group: the column of numbers of users, or of whatever GAUC is averaged over, if there is one; 0 is nobody known.
        keys: columns that are kept as they are, for predictions.
        marks: fingerprints that the preparation has written; they are computed where it has not.
        hash_bits: of ids that are hashes of their values; None where there are vocabularies.
    """

    path: Path
    dataset: str
    label: str | None
    columns: tuple[Column, ...]
    splits: Mapping[str, SplitInfo]
    weight: str | None = None
    group: str | None = None
    keys: tuple[str, ...] = ()
    marks: Marks = field(default_factory=dict)
    hash_bits: int | None = None

    def __post_init__(self) -> None:
        """Refuse fields of another type, and one name for two columns."""
        check_fields(self)
        special = [name for name in (self.label, self.weight, self.group) if name is not None]
        names = [*special, *(column.name for column in self.columns)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"Schema: columns, label, weight and group must differ, got {twice} more than once.")

    @classmethod
    @typed
    def read(cls, path: str | Path) -> Schema:
        """Read and check PATH/schema.json.

        Raises:
            FileNotFoundError: if there is no such folder or file; the message has the command that makes it.
            ValueError: if the file is not valid; the message names the entry.
        """
        folder = Path(path)
        return _Parser(schema_file(folder, prepare_command)).schema(folder)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data: what every id stands for, and the order of the dense columns."""
        found = identity_of(self.path, self.marks, self.columns, self.dense, self.hash_bits)
        scales = {column.name: column.scale for column in self.columns if column.scale is not None}
        return {**found, "values": {**found["values"], **scales}}

    @property
    def stored(self) -> list[str]:
        """All Parquet columns of a split but the keys."""
        special = (self.label, self.weight, self.group)
        return [*(name for name in special if name is not None), *(column.name for column in self.columns)]

    @property
    def dense(self) -> tuple[str, ...]:
        """Names of the dense columns."""
        return tuple(column.name for column in self.columns if column.kind == "dense")

    @property
    def categorical(self) -> tuple[Column, ...]:
        """Columns with one id per row, in the order of a batch's ids."""
        return tuple(column for column in self.columns if column.kind == "categorical")

    @property
    def multi_valued(self) -> tuple[Column, ...]:
        """Columns with any number of ids per row."""
        return tuple(column for column in self.columns if column.kind == "multi_valued")

    @property
    def wide_ids(self) -> bool:
        """Whether some id needs 64 bits."""
        return any((column.num_embeddings or 0) > 2**31 - 1 for column in self.columns)

    def counts_path(self, name: str) -> Path:
        """The file that says how often each id of a column occurs in the train split."""
        return self.path / "counts" / f"{name}.parquet"


def identity_of(
    path: Path, marks: Marks, columns: Sequence[Column], dense: Sequence[str] = (), hash_bits: int | None = None
) -> dict[str, Any]:
    """A folder's fingerprints by kind and name, and its path, as plain values; None marks what nobody knows.

    Args:
        path: of the folder.
        marks: that its schema.json has; computed where it has none.
        columns: of features; those with ids are marked.
        dense: names of the numbers that a model reads by position.
        hash_bits: of ids that are hashes of their values.
    """
    known = marks or prepared_marks(path)
    hashed = None if hash_bits is None else f"hashes of {hash_bits} bits"
    return {
        "path": str(path.resolve()),
        "ids": {each.name: known["ids"].get(each.name, hashed) for each in columns if each.kind != "dense"},
        "values": dict(known["values"]),
        "vectors": dict(known["vectors"]),
        "dense": list(dense),
    }


def read_marks(content: Mapping[str, Any], file: Path) -> Marks:
    """The fingerprints of a schema.json, empty where it has none.

    Raises:
        ValueError: if they are not names and words by kind.
    """
    found = content.get("fingerprints", {})
    kinds = ("ids", "values", "vectors")
    if found and not (isinstance(found, dict) and all(isinstance(found.get(kind), dict) for kind in kinds)):
        raise ValueError(f"{file}: fingerprints must have {', '.join(kinds)}, got {found!r}; prepare the folder again.")
    return cast(Marks, found)


def prepare_command(folder: Path) -> str:
    """The command that makes a data folder, guessed from the folder's name."""
    for dataset, command in SCRIPTS.items():
        if dataset in folder.name.lower():
            return command.format(path=folder)
    return f"recsys prepare clicks FILE --out {folder}    (or another program of recsys prepare)"


class _Parser:
    """Turns schema.json into a Schema, or says what is wrong with it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def schema(self, folder: Path) -> Schema:
        content = self._content()
        columns = tuple(self._column(entry) for entry in self._get(content, "features", list, "schema"))
        label, weight, group = (self._optional(content, key) for key in ("label", "weight", "group"))
        if label is None and "label" not in content:
            self._fail("schema: label must name a column, or be null for rows without labels")
        keys = self._get(content, "keys", list, "schema") if "keys" in content else []
        others = [*(name for name in (label, weight, group) if name is not None), *keys]
        self._check_names([column.name for column in columns], others)
        check_files(folder, content)
        splits = self._get(content, "splits", dict, "schema")
        return Schema(
            path=folder,
            dataset=self._get(content, "dataset", str, "schema"),
            label=label,
            columns=columns,
            splits={name: self._split(name, entry) for name, entry in splits.items()},
            weight=weight,
            group=group,
            keys=tuple(keys),
            marks=read_marks(content, self.file),
            hash_bits=None if content.get("hash_bits") is None else self._get(content, "hash_bits", int, "schema"),
        )

    def _content(self) -> dict[str, Any]:
        content = read_object(self.file)
        if "num_items" in content and "features" not in content:
            self._fail("a folder of sessions; make one of clicks with recsys prepare clicks, or use SessionDataModule")
        version = content.get("format_version")
        if version != FORMAT_VERSION:
            self._fail(f"format_version must be {FORMAT_VERSION}, got {version!r}; prepare the folder again")
        return content

    def _column(self, entry: object) -> Column:
        if not isinstance(entry, dict):
            self._fail(f"an entry of features must be an object, got {entry!r}")
        name = self._get(entry, "name", str, "feature")
        kind = entry.get("kind")
        if kind not in get_args(Kind):
            self._fail(f"feature '{name}': kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
        pooling = entry.get("pooling")
        if (pooling not in get_args(Pooling)) if kind == "multi_valued" else (pooling is not None):
            self._fail(f"feature '{name}': pooling is 'sum' or 'mean' for multi_valued, absent else; got {pooling!r}")
        num_embeddings = None if kind == "dense" else self._num_embeddings(name, entry)
        scale = entry.get("transform") if kind == "dense" else None
        if scale is not None and not isinstance(scale, dict):
            self._fail(f"feature '{name}': transform must be an object, got {scale!r}")
        if scale is not None:
            scale = json.dumps({key: scale[key] for key in sorted(scale) if key not in ("num_missing", "seen")})
        return Column(name, cast(Kind, kind), num_embeddings, pooling, scale)

    def _num_embeddings(self, name: str, entry: dict[str, Any]) -> int:
        num_embeddings = self._get(entry, "num_embeddings", int, f"feature '{name}'")
        if num_embeddings < 1:
            self._fail(f"feature '{name}': num_embeddings must be at least 1, got {num_embeddings}")
        return num_embeddings

    def _split(self, name: str, entry: object) -> SplitInfo:
        if not isinstance(entry, dict):
            self._fail(f"split '{name}' must be an object, got {entry!r}")
        num_rows = self._get(entry, "num_rows", int, f"split '{name}'")
        label_rate = entry.get("label_rate")
        if label_rate is not None and not (isinstance(label_rate, int | float) and 0 <= label_rate <= 1):
            self._fail(f"split '{name}': label_rate must be in [0, 1] or null, got {label_rate!r}")
        return SplitInfo(num_rows, label_rate)

    def _optional(self, content: dict[str, Any], key: str) -> str | None:
        return None if content.get(key) is None else self._get(content, key, str, "schema")

    def _check_names(self, names: list[str], others: list[str]) -> None:
        if not names:
            self._fail("features must not be empty")
        for name in [*names, *others]:
            if [*names, *others].count(name) > 1:
                self._fail(f"column '{name}' is named more than once")

    def _get(self, entry: dict[str, Any], key: str, kind: type[T], where: str) -> T:
        value = entry.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            self._fail(f"{where}: {key} must be of type {kind.__name__}, got {value!r}")
        return value

    def _fail(self, problem: str) -> NoReturn:
        raise ValueError(f"{self.file}: {problem}.")
