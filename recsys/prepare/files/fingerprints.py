"""What a prepared folder means, in short: which value every id stands for, and what is read by an item's position.

A fingerprint is the beginning of a SHA-256 of content: of values, not of how a file holds them. That of a folder's
splits is cheap: footers, sizes and evenly spaced pieces of their files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.prepare.files.first_line import first_line
from recsys.prepare.files.unreadable import UNREADABLE

Marks = Mapping[str, Mapping[str, str]]
"""Fingerprints by kind and name: "ids" of vocabularies, "values" of items' columns, "vectors" of items' vectors."""

LENGTH = 32
_PIECE_BYTES = 1 << 16
_MOST_PIECES = 256
_FOOTER_BYTES = 1 << 16
_SPLITS = ("train/*.parquet", "val/*.parquet", "test/*.parquet")
_READ = ("schema.json", "items.parquet", *_SPLITS, "counts/*.parquet", "vectors/*.npy")


def prepared_marks(folder: Path) -> dict[str, dict[str, str]]:
    """Fingerprints of all that a model reads of a folder by number or position, as far as the folder says.

    Raises:
        ValueError: if a file cannot be read, or has a column that holds neither numbers, nor texts, nor lists of them.
    """
    vocabularies = sorted((folder / "vocabulary").glob("*.parquet"))
    found: dict[str, dict[str, str]] = {
        "ids": {path.stem: _of_columns(read_vocabulary(folder, path.stem)) for path in vocabularies},
        "values": {},
        "vectors": {path.stem: of_matrix(path) for path in sorted((folder / "vectors").glob("*.npy"))},
    }
    items = folder / "items.parquet"
    if items.is_file():
        found["values"] = _of_each_column(items)
    return found


def _of_each_column(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    name = ""
    try:
        for name in pq.read_schema(path).names:
            found[name] = _of_columns((pq.read_table(path, columns=[name])[name],))
    except (*UNREADABLE, KeyError) as error:
        raise ValueError(
            f"{path}: column '{name}' must be there once, and hold numbers, texts or lists of them "
            f"({first_line(error)})."
        ) from error
    return found


def read_vocabulary(folder: Path, feature: str) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Ids and the values they stand for, as text.

    Raises:
        ValueError: if the folder has none for the feature, or one that cannot be read.
    """
    path = folder / "vocabulary" / f"{feature}.parquet"
    if not path.is_file():
        raise ValueError(f"'{folder}' has no vocabulary of '{feature}', so nobody knows what its ids stand for.")
    try:
        table = pq.read_table(path, columns=["id", "value"])
        ids, values = table["id"], table["value"].cast(pa.large_string())
    except (*UNREADABLE, KeyError) as error:
        raise ValueError(f"'{path}' cannot be read as a vocabulary, ids and values: {error}") from error
    if not pa.types.is_integer(ids.type) or ids.null_count or values.null_count:
        raise ValueError(f"'{path}': ids are of type {ids.type} and must be integers, and no cell may be null.")
    return ids, values


def of_matrix(path: Path) -> str:
    """Fingerprint of an array in a .npy file, read piece by piece.

    Raises:
        ValueError: if the file holds no array.
    """
    try:
        matrix: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as a matrix ({error}); prepare the folder again.") from error
    digest = hashlib.sha256(f"{matrix.shape} {matrix.dtype.str}".encode())
    flat = matrix.reshape(-1)
    for start in range(0, len(flat), _PIECE_BYTES):
        digest.update(flat[start : start + _PIECE_BYTES].tobytes())
    return digest.hexdigest()[:LENGTH]


def of_split(folder: Path) -> str:
    """Fingerprint of a split's Parquet files: names, sizes, footers, and of each file 256 pieces of 64 KiB, or all."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.parquet")):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        _add_pieces(digest, path)
    return digest.hexdigest()[:LENGTH]


def of_folder(folder: Path) -> str:
    """Fingerprint of all that a run on a prepared folder can read; files that have not changed are not read again."""
    paths = sorted(path for pattern in _READ for path in folder.glob(pattern))
    return _of_files(folder, tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths))


@lru_cache(maxsize=16)
def _of_files(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, num_bytes, _ in files:
        digest.update(f"{path.relative_to(folder)} {num_bytes}\n".encode())
        _add_pieces(digest, path)
    return digest.hexdigest()[:LENGTH]


def _add_pieces(digest: Any, path: Path) -> None:
    num_bytes = path.stat().st_size
    with path.open("rb") as file:
        if num_bytes <= _MOST_PIECES * _PIECE_BYTES:
            digest.update(file.read())
            return
        for number in range(_MOST_PIECES):
            file.seek(number * (num_bytes - _PIECE_BYTES) // (_MOST_PIECES - 1))
            digest.update(file.read(_PIECE_BYTES))
        file.seek(-_FOOTER_BYTES, os.SEEK_END)
        digest.update(file.read())


def _of_columns(columns: tuple[pa.ChunkedArray, ...]) -> str:
    digest = hashlib.sha256()
    for column in columns:
        _add(digest, column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    return digest.hexdigest()[:LENGTH]


def _add(digest: Any, column: Any) -> None:
    """Add an array's values: whole numbers as int64, others as float64, text by lengths and bytes, lists likewise."""
    if isinstance(column, pa.ChunkedArray):
        for chunk in column.chunks:
            _add(digest, chunk)
        return
    digest.update(f"{len(column)} {column.null_count}\n".encode())
    if column.null_count:
        digest.update(np.packbits(column.is_null().to_numpy(zero_copy_only=False)))
        column = column.drop_null()
    kind = column.type
    if pa.types.is_integer(kind):
        digest.update(column.cast(pa.int64()).to_numpy(zero_copy_only=False))
    elif pa.types.is_floating(kind):
        digest.update(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = pc.list_value_length(column).cast(pa.int64())
        digest.update(lengths.to_numpy(zero_copy_only=False))
        _add(digest, column.flatten())
    else:
        text = column.cast(pa.large_string())
        digest.update(pc.binary_length(text).cast(pa.int64()).to_numpy(zero_copy_only=False))
        _, offsets, data = text.buffers()
        if len(text):
            ends = np.frombuffer(offsets, np.int64)[text.offset : text.offset + len(text) + 1]
            digest.update(memoryview(data or b"")[ends[0] : ends[-1]])
