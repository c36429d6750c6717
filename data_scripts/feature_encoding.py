"""Replace one feature's keys by ids on disk, chunk by chunk, and count the ids that train sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from raw_fields import Mask
from raw_values import Keys, LongValues
from row_split import TRAIN
from row_store import RowStore, spans
from vocabulary import MAX_HASH_BITS, Vocabulary, build_vocabulary, count_keys, hashed_ids


@dataclass(frozen=True)
class EncodingRule:
    """How values become ids.

    Attributes:
        min_count: Values seen less often in train share id 0.
        hash_bits: If set, there is no vocabulary: ids are hashes below ``2**hash_bits``.
    """

    min_count: int = 1
    hash_bits: int | None = None

    def __post_init__(self) -> None:
        if self.min_count < 1:
            raise ValueError(f"--min-count must be at least 1, got {self.min_count}.")
        if self.hash_bits is not None and not 1 <= self.hash_bits <= MAX_HASH_BITS:
            raise ValueError(f"--hash-bits must be in [1, {MAX_HASH_BITS}], got {self.hash_bits}.")
        if self.hash_bits is not None and self.min_count > 1:
            raise ValueError("--hash-bits keeps no vocabulary, so --min-count cannot be applied; leave one of them out.")


@dataclass(frozen=True)
class EncodedFeature:
    """What encoding found out: ``counts[id]`` in train, and the vocabulary unless values are hashed."""

    counts: NDArray[np.int64]
    vocabulary: Vocabulary | None

    @property
    def num_embeddings(self) -> int:
        """Ids, with id 0."""
        return len(self.counts)


def encode_feature(store: RowStore, feature: str, rule: EncodingRule, long_values: LongValues) -> EncodedFeature:
    """Fill ``store.ids[feature]`` from ``store.keys[feature]``, whose file is then removed."""
    if rule.hash_bits is not None:
        hash_bits = rule.hash_bits
        counts = _encode(store, feature, lambda keys: hashed_ids(keys, feature, hash_bits), 2**hash_bits)
        return EncodedFeature(counts, None)
    train_keys = (keys[in_train] for keys, in_train in _chunks(store, feature))
    vocabulary = build_vocabulary(*count_keys(train_keys), rule.min_count, long_values)
    return EncodedFeature(_encode(store, feature, vocabulary.ids, vocabulary.num_embeddings), vocabulary)


def _encode(
    store: RowStore, feature: str, ids_of: Callable[[Keys], NDArray[np.int32]], num_embeddings: int
) -> NDArray[np.int64]:
    counts = np.zeros(num_embeddings, dtype=np.int64)
    for keys, in_train in _chunks(store, feature):
        ids = ids_of(keys)
        store.ids[feature].append(ids)
        counts += np.bincount(ids[in_train], minlength=num_embeddings)
    store.keys[feature].remove()
    return counts


def _chunks(store: RowStore, feature: str) -> Iterator[tuple[Keys, Mask]]:
    """Yield a feature's keys and whether each belongs to a train row."""
    first = 0
    for start, stop in spans(store.num_rows):
        in_train = store.splits.read(start, stop) == TRAIN
        if feature in store.lengths:
            in_train = np.repeat(in_train, store.lengths[feature].read(start, stop))
        yield store.keys[feature].read(first, first + len(in_train)), in_train
        first += len(in_train)
