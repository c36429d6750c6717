"""MovieLens's users and movies: small files, kept in memory and looked up by key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.clicks.raw_dataset import KeyBag
from recsys.prepare.clicks.raw_keys import Keys, LongValues, keys_of
from recsys.prepare.files.bad_lines import LineReport
from recsys.prepare.files.raw_files import RawFile
from recsys.prepare.files.raw_frames import Layout, Mask, read_frame

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
    frame = _read(file, USERS, report)
    keys = np.stack([keys_of(frame[name], long_values) for name in USERS.columns])
    keys = keys[:, _order(file, "user", frame["user"], keys[0])]
    return KeyedTable(keys[0], keys[1:])


def read_movie_genres(file: RawFile, report: LineReport, long_values: LongValues) -> KeyedBags:
    """Return the genres of every movie; a movie without any has an empty bag."""
    frame = _read(file, MOVIES, report)
    keys = keys_of(frame["item"], long_values)
    order = _order(file, "item", frame["item"], keys)
    genres = frame["genres"].fill_null("").gather(order).str.split("|").list.filter(pl.element() != "")
    lengths = genres.list.len().to_numpy().astype(np.int32)
    values = keys_of(genres.explode(empty_as_null=False), long_values)
    return KeyedBags(KeyedTable(keys[order], keys[None, order]), values, np.cumsum(lengths) - lengths, lengths)


def _read(file: RawFile, layout: Layout, report: LineReport) -> pl.DataFrame:
    """Return the good lines of a side file and account for all of its lines."""
    counts = report.of(file.name)
    frames = []
    for block in file.blocks():
        counts.read += block.num_lines
        lines, bad = read_frame(block, layout)
        report.bad(bad)
        counts.kept += len(lines.frame)
        frames.append(lines.frame)
    if not counts.kept:
        raise ValueError(f"{file.name} has no usable line.")
    return pl.concat(frames)


def _order(file: RawFile, column: str, texts: pl.Series, keys: Keys) -> NDArray[np.intp]:
    """Return the places of the keys in sorted order.

    Raises:
        ValueError: A key is there twice.
    """
    order = np.argsort(keys, kind="stable")
    twice = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    if len(twice):
        raise ValueError(f"{file.name}: {column} '{texts[int(order[twice[0]])]}' is there twice; keep one line.")
    return order
