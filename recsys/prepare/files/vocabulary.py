"""Ids of categorical values: 0 for rare, unseen and missing ones, then 1, 2, ... by falling count in train."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.prepare.clicks.raw_keys import LONG_MARK, MISSING, Keys, LongValues, code_keys, unpack
from recsys.prepare.clicks.row_split import mix64

MAX_HASH_BITS = 30
WAITING_KEYS = 1 << 20


@dataclass(frozen=True)
class Vocabulary:
    """The kept values of one feature: ``keys[i]`` has id ``i + 1`` and occurs ``counts[i]`` times in train.

    Attributes:
        num_rest: How often id 0 occurs in train, of a vocabulary that was read.
    """

    keys: Keys
    counts: NDArray[np.int64]
    num_rest: int = 0

    @property
    def num_embeddings(self) -> int:
        """Ids, with id 0."""
        return 1 + len(self.keys)

    def ids(self, keys: Keys) -> NDArray[np.int32]:
        """Return the id of each key."""
        places = pc.index_in(pa.array(keys), value_set=pa.array(self.keys)).fill_null(-1)
        ids: NDArray[np.int32] = places.to_numpy() + np.int32(1)
        return ids

    def grown(self, keys: Keys, counts: NDArray[np.int64], min_count: int, long_values: LongValues) -> Vocabulary:
        """Return this vocabulary with the new keys behind the old ones, whose ids stay; counts are added."""
        places = self.ids(keys) - 1
        total = self.counts.copy()
        np.add.at(total, places[places >= 0], counts[places >= 0])
        new = build_vocabulary(keys[places < 0], counts[places < 0], min_count, long_values)
        return Vocabulary(
            np.concatenate([self.keys, new.keys]), np.concatenate([total, new.counts]), num_rest=self.num_rest
        )


def count_keys(blocks: Iterable[tuple[Keys, NDArray[np.int64]]]) -> tuple[Keys, NDArray[np.int64]]:
    """Return the distinct keys of all blocks and the sums of their counts; memory grows with the distinct keys only."""
    total: tuple[Keys, NDArray[np.int64]] = (np.empty(0, np.uint64), np.empty(0, np.int64))
    waiting: list[tuple[Keys, NDArray[np.int64]]] = []
    for keys, counts in blocks:
        waiting.append((keys, counts))
        if sum(len(some) for some, _ in waiting) > max(len(total[0]), WAITING_KEYS):
            total, waiting = _sum([total, *waiting]), []
    return _sum([total, *waiting])


def _sum(parts: list[tuple[Keys, NDArray[np.int64]]]) -> tuple[Keys, NDArray[np.int64]]:
    coded = code_keys(np.concatenate([keys for keys, _ in parts]))
    counts = np.zeros(len(coded.dictionary), dtype=np.int64)
    np.add.at(counts, coded.codes, np.concatenate([counts for _, counts in parts]))
    return coded.dictionary, counts


def build_vocabulary(keys: Keys, counts: NDArray[np.int64], min_count: int, long_values: LongValues) -> Vocabulary:
    """Keep the keys seen at least ``min_count`` times, by falling count; ties in the order of their bytes."""
    kept = (counts >= min_count) & (keys != MISSING)
    keys, counts = keys[kept], counts[kept]
    order = np.lexsort((_byte_order(keys, long_values), -counts))
    return Vocabulary(keys[order], counts[order])


def _byte_order(keys: Keys, long_values: LongValues) -> NDArray[np.uint64]:
    """Return numbers that sort as the values' bytes do."""
    if not (keys >= np.uint64(LONG_MARK)).any():
        return keys.byteswap()
    values = unpack(keys, long_values)
    ranks = np.empty(len(keys), dtype=np.uint64)
    ranks[sorted(range(len(keys)), key=values.__getitem__)] = np.arange(len(keys), dtype=np.uint64)
    return ranks


def hashed_ids(keys: Keys, feature: str, hash_bits: int) -> NDArray[np.int32]:
    """Return ids without a vocabulary: 0 for missing, else 1 .. 2**hash_bits - 1, seeded by the feature's name."""
    seed = int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=8).digest(), "little")
    ids = mix64(keys ^ np.uint64(seed)) % np.uint64(2**hash_bits - 1) + np.uint64(1)
    ids[keys == MISSING] = MISSING
    return ids.astype(np.int32)
