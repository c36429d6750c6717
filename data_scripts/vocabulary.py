"""Ids of categorical values: 0 for rare, unseen and missing ones, then 1, 2, ... by falling count in train."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from raw_values import LONG_MARK, Keys, LongValues, unpack
from row_split import mix64

MISSING = 0
MAX_HASH_BITS = 30


@dataclass(frozen=True)
class Vocabulary:
    """The kept values of one feature: ``keys[i]`` has id ``i + 1`` and occurs ``counts[i]`` times in train."""

    keys: Keys
    counts: NDArray[np.int64]

    @property
    def num_embeddings(self) -> int:
        """Ids, with id 0."""
        return 1 + len(self.keys)

    def ids(self, keys: Keys) -> NDArray[np.int32]:
        """Return the id of each key."""
        places = pc.index_in(pa.array(keys), value_set=pa.array(self.keys))
        return places.fill_null(-1).to_numpy() + np.int32(1)


def count_keys(blocks: Iterable[Keys]) -> tuple[Keys, NDArray[np.int64]]:
    """Return the distinct keys of all blocks and how often each occurs; memory grows with the distinct keys only."""
    total = pa.table({"values": pa.array([], pa.uint64()), "counts": pa.array([], pa.int64())})
    for block in blocks:
        counted = pa.Table.from_struct_array(pc.value_counts(pa.array(block)))
        total = counted if len(total) == 0 else _add(total, counted)
    return total["values"].to_numpy(), total["counts"].to_numpy()


def _add(left: pa.Table, right: pa.Table) -> pa.Table:
    both = pa.concat_tables([left, right]).group_by("values", use_threads=False).aggregate([("counts", "sum")])
    return both.rename_columns({"counts_sum": "counts"})


def build_vocabulary(
    keys: Keys, counts: NDArray[np.int64], min_count: int, long_values: LongValues
) -> Vocabulary:
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
