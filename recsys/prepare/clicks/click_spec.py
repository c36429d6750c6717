"""What each column of anybody's clicks is: said on the command line, inferred, or read from a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from recsys.prepare.clicks.dense_values import parse_transform
from recsys.prepare.files.event_times import MICROSECONDS

ColumnKind = Literal["categorical", "dense", "lists"]
Pooling = Literal["mean", "sum"]
OF_PREDICTIONS = ("label", "logit", "weight", "group")
"""Columns of predictions, which carry the ids of features too."""


@dataclass(frozen=True)
class ColumnRule:
    """One column that a model reads.

    Attributes:
        name: Of the column.
        kind: One value that is told from others (categorical), a number (dense), or any number of values (lists).
        transform: Of a dense column.
        separator: Between the values of a text of lists; None where the file has lists.
        pooling: Of lists.

    Raises:
        ValueError: Something does not go with the kind.
    """

    name: str
    kind: ColumnKind
    transform: str | None = None
    separator: str | None = None
    pooling: Pooling | None = None

    def __post_init__(self) -> None:
        where = f"column '{self.name}'"
        for key in ("kind", "transform", "separator", "pooling"):
            if not isinstance(getattr(self, key), str | None):
                raise ValueError(f"{where}: {key} must be a text, got {getattr(self, key)!r}.")
        if self.kind not in get_args(ColumnKind):
            raise ValueError(f"{where}: kind must be one of {', '.join(get_args(ColumnKind))}, got '{self.kind}'.")
        if self.kind == "dense":
            object.__setattr__(self, "transform", parse_transform(self.transform or "standardise", where))
        elif self.transform is not None:
            raise ValueError(f"{where}: only a dense column has a transform, got '{self.transform}'.")
        if self.kind == "lists":
            object.__setattr__(self, "pooling", self.pooling or "mean")
            if self.separator is not None and (not isinstance(self.separator, str) or not self.separator):
                raise ValueError(
                    f"{where}: separator must be a text, got {self.separator!r}; leave it out where cells are lists."
                )
            if self.pooling not in get_args(Pooling):
                raise ValueError(f"{where}: pooling must be mean or sum, got '{self.pooling}'.")
        elif self.separator is not None or self.pooling is not None:
            raise ValueError(f"{where}: only lists have a separator and pooling.")
        _check_name(self)

    @property
    def has_ids(self) -> bool:
        """Whether its values become ids."""
        return self.kind != "dense" or (self.transform or "").startswith("bins")


def _check_name(rule: ColumnRule) -> None:
    name = rule.name
    if name in ("", ".", "..") or any(character in name for character in "/\\\0") or len(name.encode()) > 200:
        raise ValueError(f"column '{name}': the name becomes that of a file; rename it to one without / and \\.")
    if name == "label" or (rule.has_ids and name in OF_PREDICTIONS):
        raise ValueError(f"column '{name}': prepared rows or predictions have a column of this name; rename it.")


@dataclass(frozen=True)
class ClickSpec:
    """What the columns of a log of clicks are.

    Attributes:
        columns: Those that a model reads.
        label: The column that says whether it was a click; None for rows without labels.
        positive: Texts that are clicks, where labels are not 0 and 1.
        positive_from: The least number that is a click, likewise.
        weight: Column of weights of rows.
        group: Column of users, over which GAUC averages.
        time: Column of times, to split by.
        time_unit: Of times that are numbers.
        time_format: Of times that are texts, in strftime's words; None for ISO.
        split_column: Column of train, val and test.
        keys: Columns kept as they are, for predictions.

    Raises:
        ValueError: A column is named twice, or its name is that of a special column.
    """

    columns: tuple[ColumnRule, ...]
    label: str | None = None
    positive: tuple[str, ...] = ()
    positive_from: float | None = None
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    time_unit: str = "s"
    time_format: str | None = None
    split_column: str | None = None
    keys: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.positive and self.positive_from is not None:
            raise ValueError("give --positive or --positive-from, not both.")
        if self.positive_from is not None and not math.isfinite(self.positive_from):
            raise ValueError(f"--positive-from must be a finite number, got {self.positive_from}.")
        if self.label is not None and self.label == self.group:
            raise ValueError(
                f"column '{self.label}' is both label and group; no group would have labels of both kinds."
            )
        if self.label is not None and self.label == self.weight:
            raise ValueError(f"column '{self.label}' is both label and weight; rows of label 0 would count nothing.")
        if self.time_unit not in MICROSECONDS:
            raise ValueError(f"time_unit must be one of {', '.join(MICROSECONDS)}, got '{self.time_unit}'.")
        names = [rule.name for rule in self.columns]
        special = (("weight", self.weight), ("group", self.group))
        taken = {"label", *(name for name, column in special if column is not None)}
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"column '{name}' is given two kinds; give it one.")
            if name in taken or name in (self.label, self.weight):
                raise ValueError(f"column '{name}' is the label or weight, or has the name of one; it is no feature.")
        for key in self.keys:
            if self.keys.count(key) > 1:
                raise ValueError(f"keys: column '{key}' is named twice; name it once.")
            if key in names or key in taken or key in OF_PREDICTIONS:
                raise ValueError(
                    f"--key '{key}' is a feature, or has the name of a column of predictions, which carry it already."
                )
        if not self.columns:
            raise ValueError("no column is a feature; give --categorical, --dense or --lists.")

    @property
    def needed(self) -> list[str]:
        """Every column that is read, once."""
        special = (self.label, self.weight, self.group, self.time, self.split_column)
        return list(dict.fromkeys([rule.name for rule in self.columns] + [n for n in special if n] + list(self.keys)))

    def as_json(self) -> dict[str, Any]:
        """Plain values, without what is not given."""
        columns = {}
        for rule in self.columns:
            entry = {
                "kind": rule.kind,
                "transform": rule.transform,
                "separator": rule.separator,
                "pooling": rule.pooling,
            }
            columns[rule.name] = {key: value for key, value in entry.items() if value is not None}
        found: dict[str, Any] = {
            "label": self.label,
            "positive": list(self.positive),
            "positive_from": self.positive_from,
        }
        found |= {"weight": self.weight, "group": self.group, "time": self.time}
        found |= {"time_unit": self.time_unit, "time_format": self.time_format} if self.time else {}
        found |= {"split_column": self.split_column, "keys": list(self.keys)}
        return {key: value for key, value in found.items() if value not in (None, [])} | {"columns": columns}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], where: str) -> ClickSpec:
        """The inverse of as_json.

        Raises:
            ValueError: naming the file and what does not fit.
        """
        known = {*cls.__dataclass_fields__} - {"reasons"}
        try:
            for key in content:
                if key not in known:
                    raise ValueError(f"'{key}' is none of {', '.join(sorted(known))}.")
            columns = content.get("columns")
            if not isinstance(columns, Mapping):
                raise ValueError("columns must map names of columns to what they are.")
            others = {key: content[key] for key in content if key != "columns"}
            for key in ("positive", "keys"):
                if key in others:
                    others[key] = _texts(others[key], key)
            for key in ("label", "weight", "group", "time", "time_unit", "time_format", "split_column"):
                if not isinstance(others.get(key, ""), str):
                    raise ValueError(f"{key} must be one name, got '{others[key]}'.")
                if others.get(key) == "":
                    raise ValueError(f"{key} must be a name, got ''; leave it out where there is none.")
            if "positive_from" in others:
                others["positive_from"] = float(others["positive_from"])
            return cls(tuple(_rule(name, entry) for name, entry in columns.items()), **others)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: {error}") from error


def _texts(value: Any, key: str) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(f"{key} must be a list, got '{value}'.")
    return tuple(map(str, value))


def _rule(name: str, entry: Any) -> ColumnRule:
    if not isinstance(entry, Mapping) or "kind" not in entry:
        raise ValueError(f"column '{name}' must be like {{kind: categorical}}, got '{entry}'.")
    strange = set(entry) - {"kind", "transform", "separator", "pooling"}
    if strange:
        raise ValueError(f"column '{name}': '{strange.pop()}' is none of kind, transform, separator, pooling.")
    return ColumnRule(str(name), **entry)
