"""Which ids get a row of their own within a budget, by how often they are read, and how many rows the rest share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.argument_types import check_fields, typed

_VALUE_BYTES = 4


@dataclass(frozen=True)
class Column:
    """A feature and how often its ids were read.

    Args:
        name: of the feature.
        counts: [V] reads of every id in the train split.
    """

    name: str
    counts: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Refuse what counts nothing."""
        check_fields(self)
        if self.counts.ndim != 1 or not len(self.counts) or self.counts.dtype.kind not in "iu" or self.counts.min() < 0:
            got = f"{list(self.counts.shape)} of {self.counts.dtype}"
            raise ValueError(f"Column '{self.name}': counts must be whole numbers [V] of at least 0, got {got}.")

    @property
    def num_embeddings(self) -> int:
        """V."""
        return len(self.counts)


@dataclass(frozen=True)
class Allocation:
    """A plan for all features.

    Args:
        heads: ids of each feature, from 0, that have a row of their own; V of them where the feature is exact.
        num_rows: rows of the matrix that all tails share, of embedding_dim / num_lookups values; 0 if there is no tail.
        embedding_dim: D.
        num_lookups: rows of the shared matrix that an id reads.
        num_bytes: of all rows in float32.
    """

    heads: Mapping[str, int]
    num_rows: int
    embedding_dim: int
    num_lookups: int
    num_bytes: int

    def tail_share(self, column: Column) -> float:
        """Share of a feature's reads that go to the shared matrix."""
        total = column.counts.sum()
        return float(column.counts[self.heads[column.name] :].sum() / total) if total else 0.0

    def readers(self, columns: Sequence[Column]) -> float:
        """Ids expected to read a row of the shared matrix that a given id reads, this id among them; 0 without a tail.

        Each of its num_lookups rows is any of the matrix, by hashes, so every other id meets it with the same chance.
        """
        num_ids = sum(column.num_embeddings - self.heads[column.name] for column in columns)
        if not num_ids or not self.num_rows:
            return 0.0
        return 1 + (num_ids - 1) * (1 - (1 - 1 / self.num_rows) ** self.num_lookups)


@typed
def allocate(
    columns: Sequence[Column], embedding_dim: int, budget_bytes: int, exact_up_to: int = 0, num_lookups: int = 2
) -> Allocation:
    """Heads and a tail that fill a budget with the fewest expected collisions per read.

    A read of the tail meets, in each of its rows, (ids of the tail) / (vectors that the tail's rows make up) other
    ids; a read of the head meets none. Among all numbers of heads, given to the most frequent ids whatever their
    feature, that one is taken which makes (share of reads in the tail) x (ids of the tail) / (vectors of the tail)
    least.

    Args:
        columns: the features, their ids by falling count but for id 0, which always has its own row.
        embedding_dim: D, a multiple of num_lookups.
        budget_bytes: of all rows in float32.
        exact_up_to: features with at most this many ids stay exact.
        num_lookups: rows of the shared matrix that an id reads.

    Raises:
        ValueError: if D is no multiple of num_lookups, or the budget does not pay for the exact features, one row for
            each other and one vector of the tail; with the smallest that does.
    """
    for name, value, least in (("embedding_dim", embedding_dim, 1), ("num_lookups", num_lookups, 1)):
        if value < least:
            raise ValueError(f"allocate: {name} must be at least {least}, got {value}.")
    if embedding_dim % num_lookups:
        raise ValueError(f"embedding_dim={embedding_dim} must be a multiple of num_lookups={num_lookups}.")
    vector_bytes = _VALUE_BYTES * embedding_dim
    exact = {c.name: c.num_embeddings for c in columns if c.num_embeddings <= exact_up_to}
    others = [c for c in columns if c.name not in exact]
    num_vectors = budget_bytes // vector_bytes - sum(exact.values())
    if num_vectors >= sum(c.num_embeddings for c in others):
        heads = {c.name: c.num_embeddings for c in columns}
        return Allocation(heads, 0, embedding_dim, num_lookups, vector_bytes * sum(heads.values()))
    if num_vectors < len(others) + 1:
        smallest = vector_bytes * (sum(exact.values()) + len(others) + 1)
        raise ValueError(
            f"budget_bytes={budget_bytes} does not pay for {sum(exact.values())} ids of exact features, a row for each "
            f"of {len(others)} others and a shared one; the smallest budget that does is {smallest} bytes, or less "
            "with a lower exact_up_to."
        )
    found = {c.name: 1 + own for c, own in zip(others, _heads(others, num_vectors), strict=True)}
    heads = {c.name: {**exact, **found}[c.name] for c in columns}
    row_bytes = vector_bytes // num_lookups
    left = budget_bytes - vector_bytes * sum(heads.values())
    num_rows = min(left // row_bytes, 1 << 31)
    return Allocation(heads, num_rows, embedding_dim, num_lookups, budget_bytes - left + num_rows * row_bytes)


def _heads(columns: Sequence[Column], num_vectors: int) -> list[int]:
    """How many ids behind id 0 of each feature are of the head; at least a vector is left to the tail."""
    # A falling count is taken to fall: the head of a feature is a range of ids.
    counts = [np.minimum.accumulate(c.counts[1:]) for c in columns]
    owner = np.repeat(np.arange(len(columns)), [len(each) for each in counts])
    every = np.concatenate(counts)
    order = np.argsort(-every, kind="stable")
    total = max(1, int(every.sum()) + sum(int(c.counts[0]) for c in columns))
    most = min(len(every), num_vectors - len(columns) - 1)
    num_heads = np.arange(most + 1)
    tail_reads = every.sum() - np.concatenate([[0], np.cumsum(every[order[:most]])])
    tail_ids = len(every) - num_heads
    tail_vectors = num_vectors - len(columns) - num_heads
    best = int(np.argmin(tail_reads / total * tail_ids / tail_vectors))
    return np.bincount(owner[order[:best]], minlength=len(columns)).tolist()
