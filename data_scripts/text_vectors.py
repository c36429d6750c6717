"""Vectors of item texts: TF-IDF of words, reduced to a few dimensions by a singular value decomposition.

    python data_scripts/text_vectors.py --items data/beauty/items.parquet --text title --out data/beauty/text.npy

Reads a Parquet file with a row per item: its id in 1..V and its text, in one or more columns. Writes float32 [V + 1, T]
with a row per id; row 0 and items without text are zeros. Words are hashed to columns, so that memory does not grow
with the vocabulary.
"""

from __future__ import annotations

import argparse
import re
import zlib
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

WORD = re.compile(r"[a-z0-9]+")


def words(text: str) -> list[str]:
    """Runs of letters and digits in lower case.

    >>> words("Nail-Lacquer, 15 ml")
    ['nail', 'lacquer', '15', 'ml']
    """
    return WORD.findall(text.lower())


def count_words(texts: list[str], num_columns: int) -> NDArray[np.float32]:
    """How often each text has a word of each hashed column: [N, num_columns]."""
    counts = np.zeros((len(texts), num_columns), np.float32)
    for row, text in enumerate(texts):
        columns = [zlib.crc32(word.encode()) % num_columns for word in words(text)]
        np.add.at(counts[row], columns, 1)
    return counts


def tf_idf(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log counts times log rarity, each row of unit length or zero: [N, C] -> [N, C]."""
    holders = (counts > 0).sum(0)
    weights = np.log1p(counts) * np.log((1 + len(counts)) / (1 + holders)).astype(np.float32)
    lengths = np.linalg.norm(weights, axis=1, keepdims=True)
    return np.divide(weights, lengths, out=np.zeros_like(weights), where=lengths > 0)


def reduce(matrix: NDArray[np.float32], num_dims: int) -> NDArray[np.float32]:
    """The matrix on its strongest right singular vectors, in falling order: [N, C] -> [N, num_dims].

    From the eigenvectors of [C, C] products, whose size does not grow with N. Signs are fixed: the largest entry of
    every vector is positive.
    """
    _, vectors = np.linalg.eigh((matrix.T @ matrix).astype(np.float64))
    strongest = vectors[:, ::-1][:, :num_dims]
    signs = np.sign(strongest[np.abs(strongest).argmax(0), np.arange(strongest.shape[1])])
    return matrix @ (strongest * signs).astype(np.float32)


def text_vectors(ids: NDArray[np.int64], texts: list[str], num_dims: int, num_columns: int) -> NDArray[np.float32]:
    """Rows by id, of unit mean square: [max id + 1, num_dims].

    Raises:
        ValueError: if num_dims is outside [1, num_columns], or an id is below 1 or given twice.
    """
    if not 1 <= num_dims <= num_columns:
        raise ValueError(f"dims must be in [1, columns={num_columns}], got {num_dims}.")
    if len(ids) and (ids.min() < 1 or len(np.unique(ids)) < len(ids)):
        raise ValueError("item ids must be distinct and at least 1.")
    reduced = reduce(tf_idf(count_words(texts, num_columns)), num_dims)
    scale = np.sqrt(np.mean(np.square(reduced))) or 1.0
    rows = np.zeros((int(ids.max(initial=0)) + 1, num_dims), np.float32)
    rows[ids] = reduced / scale
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Read, count, reduce, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=Path, required=True, help="Parquet file with a row per item")
    parser.add_argument("--item", default="item", help="column of the item's id")
    parser.add_argument("--text", nargs="+", required=True, help="columns of text, joined")
    parser.add_argument("--dims", type=int, default=64, help="T, width of a vector")
    parser.add_argument("--columns", type=int, default=2048, help="columns that words are hashed to")
    parser.add_argument("--out", type=Path, required=True, help=".npy file to write")
    settings = parser.parse_args(arguments)
    joined = pl.concat_str(settings.text, separator=" ", ignore_nulls=True).alias("text")
    frame = pl.read_parquet(settings.items).select(pl.col(settings.item).cast(pl.Int64).alias("id"), joined)
    rows = text_vectors(frame["id"].to_numpy(), frame["text"].to_list(), settings.dims, settings.columns)
    np.save(settings.out, rows)
    print(f"{settings.out}: {len(rows) - 1:,} items, {settings.dims} values each")


if __name__ == "__main__":
    main()
