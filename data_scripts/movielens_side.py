"""MovieLens's users and movies: small files, kept in memory and looked up by key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from bad_lines import BadLine, LineReport
from numpy.typing import NDArray
from raw_dataset import KeyBag
from raw_fields import Fields, Layout, Mask, split_fields
from raw_files import RawFile
from raw_values import Keys, LongValues, categorical, pack

USERS = Layout(b"::", ("user", "gender", "age", "occupation", "zip"))
MOVIES = Layout(b"::", ("item", "title", "genres"), encoding="latin-1")


@dataclass(frozen=True)
class KeyedTable:
    """Rows found by their key.

    Attributes:
        keys: [num_rows] sorted, distinct.
        columns: [num_columns, num_rows] keys of the other fields.
    """

    keys: Keys
    columns: Keys

    def find(self, keys: Keys) -> tuple[NDArray[np.intp], Mask]:
        """Return the place of each key (any place if unknown) and whether it is known."""
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return places, self.keys[places] == keys


@dataclass(frozen=True)
class KeyedBags:
    """A bag of keys for each key: ``values[starts[i] : starts[i] + lengths[i]]`` for ``table.keys[i]``."""

    table: KeyedTable
    values: Keys
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]

    def find(self, keys: Keys) -> tuple[KeyBag, Mask]:
        """Return the bag of each key and whether it is known."""
        places, known = self.table.find(keys)
        lengths = self.lengths[places]
        ends = np.cumsum(lengths)
        from_start = np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)
        return KeyBag(self.values[np.repeat(self.starts[places], lengths) + from_start], lengths), known


def read_users(file: RawFile, report: LineReport, long_values: LongValues) -> KeyedTable:
    """Return gender, age, occupation and zip of every user."""
    keys = np.concatenate([categorical(fields, slice(0, 5), long_values) for fields in _fields(file, USERS, report)], 1)
    keys = keys[:, _first_of_each(file, keys[0])]
    return KeyedTable(keys[0], keys[1:])


def read_movie_genres(file: RawFile, report: LineReport, long_values: LongValues) -> KeyedBags:
    """Return the genres of every movie; a movie without any has an empty bag."""
    items: list[Keys] = []
    genres: list[list[bytes]] = []
    for fields in _fields(file, MOVIES, report):
        items.append(categorical(fields, slice(0, 1), long_values)[0])
        genres += [[genre for genre in fields.raw(row, 2).split(b"|") if genre] for row in range(fields.num_rows)]
    keys = np.concatenate(items)
    order = _first_of_each(file, keys)
    lengths = np.array([len(genres[place]) for place in order.tolist()], dtype=np.int32)
    values = pack([genre for place in order.tolist() for genre in genres[place]], long_values)
    return KeyedBags(KeyedTable(keys[order], keys[None, order]), values, np.cumsum(lengths) - lengths, lengths)


def _fields(file: RawFile, layout: Layout, report: LineReport) -> Iterator[Fields]:
    """Yield the good lines of a side file and account for them all."""
    counts = report.of(file.path.name)
    for block in file.blocks():
        counts.read += block.num_lines
        if block.damage is not None:
            report.bad([BadLine(block.file, block.first_line, block.damage)])
            continue
        fields, bad = split_fields(block, layout)
        report.bad(bad)
        counts.kept += fields.num_rows
        yield fields


def _first_of_each(file: RawFile, keys: Keys) -> NDArray[np.intp]:
    """Return the places of the keys in sorted order.

    Raises:
        ValueError: A key is there twice, or there is none.
    """
    order = np.argsort(keys, kind="stable")
    if len(keys) == 0:
        raise ValueError(f"{file.path.name} has no usable line.")
    twice = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    if len(twice):
        lines = order[twice[0] : twice[0] + 2] + 1
        raise ValueError(f"{file.path.name}: good lines {lines[0]} and {lines[1]} have the same id; keep one.")
    return order
