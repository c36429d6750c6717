"""Give the values of one column their ids, and count the ids that train sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

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
        known: Vocabularies by feature, of an earlier preparation, whose ids stay; new values share id 0.
        grow: New values are appended to the known ones instead.
    """

    min_count: int = 1
    hash_bits: int | None = None
    number_unseen: frozenset[str] = frozenset()
    known: Mapping[str, Vocabulary] = field(default_factory=dict)
    grow: bool = False

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
        counts: How often each id occurs in train, of an earlier preparation included.
        vocabulary: None where values are hashed.
        num_values: Distinct values in all splits; None where values are hashed.
        num_unseen: Values of val and test, row by row, that are not missing and share id 0.
        num_new: Ids that were appended to known ones.
        num_held_out: Values of val and test, row by row, that are not missing.
    """

    counts: NDArray[np.int64]
    vocabulary: Vocabulary | None
    num_values: int | None
    num_unseen: int = 0
    num_new: int = 0
    num_held_out: int = 0

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
    keys, counts = count_keys(_counts(store, column))
    min_count = 0 if name in rule.number_unseen else rule.min_count
    if name in rule.known:
        known = rule.known[name]
        vocabulary = known.grown(keys, counts, min_count, long_values) if rule.grow else known
    else:
        known = Vocabulary(np.empty(0, np.uint64), np.empty(0, np.int64))
        vocabulary = build_vocabulary(keys, counts, min_count, long_values)
    _fill_ids(column, vocabulary.ids)
    num_unseen, num_held_out = _num_unseen(store, column)
    num_rest = counts.sum() + known.counts.sum() - vocabulary.counts.sum() if name not in rule.known or rule.grow else 0
    return EncodedFeature(
        np.append(known.num_rest + num_rest, vocabulary.counts),
        vocabulary,
        int(np.count_nonzero(keys != MISSING)),
        num_unseen,
        len(vocabulary.keys) - len(known.keys) if name in rule.known else 0,
        num_held_out,
    )


def encode_group(store: RowStore, long_values: LongValues) -> Vocabulary:
    """Number the groups of all rows, train or not, each apart; 0 is a missing one."""
    assert store.group is not None
    column = store.group
    keys, counts = count_keys(_counts(store, column, every_split=True))
    vocabulary = build_vocabulary(keys, counts, 1, long_values)
    _fill_ids(column, vocabulary.ids)
    return vocabulary


def _fill_ids(column: CodedColumn, ids_of: Callable[[Keys], NDArray[np.int32]]) -> None:
    for blocks, keys in column.dictionaries(LOOKUP_KEYS):
        ends = [column.dictionary.ends[block + 1] - column.dictionary.ends[blocks[0]] for block in blocks]
        for ids in np.split(ids_of(keys), ends[:-1]):
            column.ids.append(ids)


def _counts(
    store: RowStore, column: CodedColumn, every_split: bool = False
) -> Iterator[tuple[Keys, NDArray[np.int64]]]:
    """Yield the dictionary of each block and how often train rows have each of its keys (0 for some)."""
    for block in range(column.num_blocks):
        keys, codes = column.dictionary.read(block), column.codes.read(block)
        if not every_split:
            codes = codes[_is_value_of(store, column, block, lambda splits: splits == TRAIN)]
        yield keys, np.bincount(codes, minlength=len(keys))


def _is_value_of(
    store: RowStore, column: CodedColumn, block: int, chosen: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """Which values of a block belong to rows of the chosen splits."""
    rows = chosen(store.splits.read(block))
    return rows if column.lengths is None else np.repeat(rows, column.lengths.read(block))


def _num_unseen(store: RowStore, column: CodedColumn) -> tuple[int, int]:
    """Values of val and test rows that are there and share id 0, and all that are there."""
    found, total = 0, 0
    for block in range(column.num_blocks):
        held_out = _is_value_of(store, column, block, lambda splits: splits != TRAIN)
        codes, is_there = column.codes.read(block)[held_out], column.dictionary.read(block) != MISSING
        found += int(np.count_nonzero(((column.ids.read(block) == 0) & is_there)[codes]))
        total += int(np.count_nonzero(is_there[codes]))
    return found, total


def _count_ids(store: RowStore, column: CodedColumn, num_embeddings: int) -> NDArray[np.int64]:
    counts = np.zeros(num_embeddings, dtype=np.int64)
    for block, (_, key_counts) in enumerate(_counts(store, column)):
        np.add.at(counts, column.ids.read(block), key_counts)
    return counts
