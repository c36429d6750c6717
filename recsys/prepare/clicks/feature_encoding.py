"""Give the values of one column their ids, and count the ids that train sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.prepare.clicks.raw_keys import MISSING, Keys, LongValues
from recsys.prepare.clicks.row_split import TRAIN
from recsys.prepare.clicks.row_store import CodedColumn, RowStore
from recsys.prepare.files.vocabulary import MAX_HASH_BITS, Vocabulary, build_vocabulary, count_keys, hashed_ids

LOOKUP_KEYS = 1 << 22


@dataclass(frozen=True)
class EncodingRule:
    """How values become ids.

    Attributes:
        min_count: Values seen less often in train share id 0.
        hash_bits: If set, there is no vocabulary: ids are hashes below ``2**hash_bits``.
        number_unseen: Features whose values that train does not have get ids of their own, the last ones, with a count
            of 0: for tables that know such ids by their content.
    """

    min_count: int = 1
    hash_bits: int | None = None
    number_unseen: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.min_count < 1:
            raise ValueError(f"--min-count must be at least 1, got {self.min_count}.")
        if self.hash_bits is not None and not 1 <= self.hash_bits <= MAX_HASH_BITS:
            raise ValueError(f"--hash-bits must be in [1, {MAX_HASH_BITS}], got {self.hash_bits}.")
        if self.hash_bits is not None and self.min_count > 1:
            raise ValueError("--hash-bits keeps no vocabulary, so --min-count cannot be applied; leave one out.")
        if self.number_unseen and (self.hash_bits is not None or self.min_count > 1):
            raise ValueError("--number-unseen gives every value an id; leave --hash-bits and --min-count out.")


@dataclass(frozen=True)
class EncodedFeature:
    """What encoding found out.

    Attributes:
        counts: How often each id occurs in train.
        vocabulary: None where values are hashed.
        num_values: Distinct values in all splits; None where values are hashed.
    """

    counts: NDArray[np.int64]
    vocabulary: Vocabulary | None
    num_values: int | None

    @property
    def num_embeddings(self) -> int:
        """Ids, with id 0."""
        return len(self.counts)


def encode_feature(store: RowStore, name: str, rule: EncodingRule, long_values: LongValues) -> EncodedFeature:
    """Fill ``store.coded[name].ids``; several features may be encoded at a time, each from one thread."""
    column = store.coded[name]
    if rule.hash_bits is not None:
        hash_bits = rule.hash_bits
        _fill_ids(column, lambda keys: hashed_ids(keys, name, hash_bits))
        return EncodedFeature(_count_ids(store, column, 2**hash_bits), None, None)
    keys, counts = count_keys(_train_counts(store, column))
    min_count = 0 if name in rule.number_unseen else rule.min_count
    vocabulary = build_vocabulary(keys, counts, min_count, long_values)
    _fill_ids(column, vocabulary.ids)
    num_rest = counts.sum() - vocabulary.counts.sum()
    return EncodedFeature(np.append(num_rest, vocabulary.counts), vocabulary, int(np.count_nonzero(keys != MISSING)))


def _fill_ids(column: CodedColumn, ids_of: Callable[[Keys], NDArray[np.int32]]) -> None:
    for blocks, keys in column.dictionaries(LOOKUP_KEYS):
        ends = [column.dictionary.ends[block + 1] - column.dictionary.ends[blocks[0]] for block in blocks]
        for ids in np.split(ids_of(keys), ends[:-1]):
            column.ids.append(ids)


def _train_counts(store: RowStore, column: CodedColumn) -> Iterator[tuple[Keys, NDArray[np.int64]]]:
    """Yield the dictionary of each block and how often train rows have each of its keys (0 for some)."""
    for block in range(column.num_blocks):
        in_train = store.splits.read(block) == TRAIN
        if column.lengths is not None:
            in_train = np.repeat(in_train, column.lengths.read(block))
        keys = column.dictionary.read(block)
        yield keys, np.bincount(column.codes.read(block)[in_train], minlength=len(keys))


def _count_ids(store: RowStore, column: CodedColumn, num_embeddings: int) -> NDArray[np.int64]:
    counts = np.zeros(num_embeddings, dtype=np.int64)
    for block, (_, key_counts) in enumerate(_train_counts(store, column)):
        np.add.at(counts, column.ids.read(block), key_counts)
    return counts
