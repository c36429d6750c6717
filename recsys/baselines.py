"""Recommenders without training, which any model must beat."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from typing import Any

import numpy as np
import scipy.sparse as sparse
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from recsys.argument_types import typed
from recsys.data.sequences import Ints, Sequences
from recsys.data.session import SessionDataModule, SessionSplit
from recsys.metrics.next_item import RankingMetrics, exclude
from recsys.models.checks import check_at_least, check_positive

CHUNK_ROWS = 512

Scores = NDArray[np.float32]


class Baseline(ABC):
    """Scores items from counts of the train split."""

    name: str

    def __getattr__(self, name: str) -> Any:
        """Say of counts that are not there what makes them."""
        if name in ("_counts", "_popularity", "_cosines"):
            raise AttributeError(
                f"{type(self).__name__} has counted nothing yet; call fit() with the train split first."
            )
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    @abstractmethod
    def fit(self, train: Sequences, num_items: int) -> None:
        """Count."""

    @abstractmethod
    def scores(self, histories: Sequences, rows: Ints) -> Scores:
        """Scores of all items for some rows: [B, V], column c for item c + 1."""


class MostPopular(Baseline):
    """The items with most training events, for everybody."""

    name = "most_popular"

    def fit(self, train: Sequences, num_items: int) -> None:
        """Count each item's events."""
        self._counts = np.bincount(train.items, minlength=num_items + 1)[1:].astype(np.float32)

    def scores(self, histories: Sequences, rows: Ints) -> Scores:
        """The same for all rows."""
        return np.tile(self._counts, (len(rows), 1))


class PersonalPopular(Baseline):
    """The items that a history holds most often, then the most popular ones; made for repeats."""

    name = "personal_popular"

    def fit(self, train: Sequences, num_items: int) -> None:
        """Count each item's events."""
        self._popularity = _popularity(train, num_items)

    def scores(self, histories: Sequences, rows: Ints) -> Scores:
        """Events of each item in the history, plus its popularity as a fraction."""
        counted = _matrix(histories, rows, len(self._popularity), np.ones(int(histories.lengths[rows].sum())))
        return np.asarray(counted.todense()) + self._popularity


class BaseLevel(Baseline):
    """The items most present in a history by ACT-R's base level, then the most popular ones; made for repeats.

    An item's presence is the sum over its events of (time since) ** -decay, as a share of the history's sum: what is
    frequent and what is recent. Without times, events since stand for seconds since. `succession` adds to it what the
    last event evokes: the same sum over those events alone that came right after one of the last item.

    Source: Anderson, How Can the Human Mind Occur in the Physical Universe? (2007).

    Args:
        decay: above 0.
        horizon: seconds after a history's last event for which is recommended.
        succession: weight of what has followed the last item, as a share, against the presence's 1; at least 0.

    Raises:
        ValueError: an argument is out of range.
    """

    name = "base_level"

    @typed
    def __init__(self, decay: float = 0.5, horizon: int = 24 * 3600, succession: float = 0.0) -> None:
        check_positive("BaseLevel", "decay", decay)
        if horizon < 1:
            raise ValueError(f"BaseLevel: horizon must be at least 1 second, got {horizon}.")
        check_at_least("BaseLevel", "succession", succession, 0)
        self.decay = decay
        self.horizon = horizon
        self.succession = succession

    def fit(self, train: Sequences, num_items: int) -> None:
        """Count each item's events."""
        self._popularity = _popularity(train, num_items)

    def scores(self, histories: Sequences, rows: Ints) -> Scores:
        """Below 1 the popularity of items that a history lacks, above 1 the presence of those that it has."""
        strength = self._since(histories, rows) ** -self.decay
        held = _shares(strength, histories.lengths[rows])
        if self.succession:
            evoked = strength * _follows_the_last(histories, rows)
            held = held + self.succession * _shares(evoked, histories.lengths[rows])
        present = np.asarray(_matrix(histories, rows, len(self._popularity), held).todense())
        return np.where(present > 0, 1 + present, self._popularity).astype(np.float32)

    def _since(self, histories: Sequences, rows: Ints) -> NDArray[np.float64]:
        """Seconds from each event to the time for which is recommended, or its number from the end."""
        lengths = histories.lengths[rows]
        if histories.times is None:
            return (1 + _events_since(lengths)).astype(np.float64)
        times = histories.times[histories.places(rows)]
        last = times[np.cumsum(lengths)[lengths > 0] - 1]
        return (np.repeat(last, lengths[lengths > 0]) + self.horizon - times).astype(np.float64)


class ItemKNN(Baseline):
    """Items bought by those who bought what a history ends with: cosine of items' user vectors, later events first.

    The score of an item is the sum over the history's last `num_events` events of the cosine between both items' binary
    vectors of training users, times decay ** (events since). An item is no neighbour of its own.

    Holds a value for every pair of items that a sequence of the train split has. Where these could be more than
    `max_pairs`, only as many of each sequence's latest events are counted as keep below it, with a warning.

    Args:
        num_events: latest events of a history that count.
        decay: weight of an event relative to the one after it, in (0, 1].
        max_pairs: values held at most; 12 bytes each, and as much again while they are counted.

    Raises:
        ValueError: an argument is out of range.
    """

    name = "item_knn"

    @typed
    def __init__(self, num_events: int = 10, decay: float = 0.8, max_pairs: int = 100_000_000) -> None:
        if num_events < 1:
            raise ValueError(f"ItemKNN: num_events must be at least 1, got {num_events}.")
        if not 0 < decay <= 1:
            raise ValueError(f"ItemKNN: decay must be in (0, 1], got {decay}.")
        if max_pairs < 1:
            raise ValueError(f"ItemKNN: max_pairs must be at least 1, got {max_pairs}.")
        self.num_events = num_events
        self.decay = decay
        self.max_pairs = max_pairs

    def fit(self, train: Sequences, num_items: int) -> None:
        """Compute all cosines."""
        counted = _affordable_events(train.lengths, num_items, self.max_pairs)
        if counted < train.lengths.max(initial=0):
            rank_zero_warn(
                f"ItemKNN counts the latest {counted} events of each sequence, so that it holds no more than "
                f"max_pairs={self.max_pairs:,} pairs of items."
            )
        bought = _matrix(train, np.arange(len(train)), num_items, _events_since(train.lengths) < counted)
        bought.eliminate_zeros()
        bought.data[:] = 1
        norms = np.sqrt(np.asarray(bought.sum(0)).ravel())
        scale = sparse.diags(np.divide(1, norms, out=np.zeros_like(norms), where=norms > 0))
        scaled = (bought @ scale).tocsr()
        cosines = (scaled.T @ scaled).tocsr()
        cosines.setdiag(0)
        cosines.eliminate_zeros()
        self._cosines = cosines

    def scores(self, histories: Sequences, rows: Ints) -> Scores:
        """Weighted sums of cosines."""
        since = _events_since(histories.lengths[rows])
        weights = np.where(since < self.num_events, self.decay ** np.minimum(since, self.num_events), 0)
        latest = _matrix(histories, rows, self._cosines.shape[0], weights)
        latest.eliminate_zeros()
        return np.asarray((latest @ self._cosines).todense())


@typed
def baseline_metrics(
    data: SessionDataModule,
    split: SessionSplit = "val",
    baselines: tuple[Baseline, ...] | None = None,
    rank: int = 0,
    num_ranks: int = 1,
) -> dict[str, dict[str, float]]:
    """Metrics of baselines on all rows of a split, under the data module's filter_seen.

    Args:
        data: where train and the split come from.
        split: to be predicted.
        baselines: by default all of this file.
        rank: this process, which scores its part of the rows.
        num_ranks: all processes, each of which must call this.

    Returns:
        What RankingMetrics computes, by name of the baseline.

    Raises:
        ValueError: if the split has no targets, or rank is none of num_ranks.
    """
    if not 0 <= rank < num_ranks:
        raise ValueError(f"baseline_metrics: rank must be in [0, num_ranks={num_ranks}), got {rank}.")
    train, histories, num_items = data.sequences("train"), data.sequences(split), data.schema.num_items
    if histories.targets is None:
        raise ValueError(f"baseline_metrics: split '{split}' has no targets; choose 'val' or 'test'.")
    targets, counts = torch.from_numpy(histories.targets), torch.from_numpy(data.schema.item_counts())
    found = {}
    for baseline in default_baselines() if baselines is None else baselines:
        baseline.fit(train, num_items)
        metrics = RankingMetrics(counts)
        for first in range(rank * CHUNK_ROWS, len(histories), CHUNK_ROWS * num_ranks):
            rows = np.arange(first, min(first + CHUNK_ROWS, len(histories)))
            scores, history = torch.from_numpy(baseline.scores(histories, rows)), histories.bag(rows)
            if data.filter_seen:
                exclude(scores, history)
            metrics.update(scores, targets[rows], history)
        found[baseline.name] = metrics.compute()
    return found


def default_baselines() -> tuple[Baseline, ...]:
    """One of each."""
    return MostPopular(), PersonalPopular(), BaseLevel(), ItemKNN()


def _popularity(train: Sequences, num_items: int) -> Scores:
    """Training events of each item as a fraction below 1, so that one event of a history outweighs them all: [V]."""
    counts = np.bincount(train.items, minlength=num_items + 1)[1:]
    return (counts / (counts.max(initial=0) + 1)).astype(np.float32)


def _affordable_events(lengths: Ints, num_items: int, max_pairs: int) -> int:
    """Events of each sequence whose pairs are no more than max_pairs, however few are the same; at least 1."""
    longest = max(1, int(lengths.max(initial=0)))
    if num_items**2 <= max_pairs:
        return longest

    def pairs(counted: int) -> int:
        return int((np.minimum(lengths, counted).astype(np.int64) ** 2).sum())

    return max(1, bisect_right(range(1, longest + 1), max_pairs, key=pairs))


def _events_since(lengths: Ints) -> Ints:
    """How many events of its sequence come after each event, for sequences one after the other."""
    return np.asarray(np.repeat(np.cumsum(lengths), lengths) - 1 - np.arange(lengths.sum()))


def _shares(strength: NDArray[np.float64], lengths: Ints) -> NDArray[np.float64]:
    """Strengths of events, one sequence after the other, as shares of their sequence's sum; 0 where that is 0."""
    totals = np.bincount(np.repeat(np.arange(len(lengths)), lengths), strength, minlength=len(lengths))
    return strength / np.repeat(np.where(totals > 0, totals, 1), lengths)


def _follows_the_last(histories: Sequences, rows: Ints) -> NDArray[np.bool_]:
    """Which events came right after one of their sequence's last item, for sequences one after the other."""
    lengths, items = histories.lengths[rows], histories.items[histories.places(rows)]
    last = np.repeat(items[np.cumsum(lengths)[lengths > 0] - 1], lengths[lengths > 0])
    found = np.zeros(len(items), bool)
    found[1:] = items[:-1] == last[1:]
    found[(np.cumsum(lengths) - lengths)[lengths > 0]] = False
    return found


def _matrix(sequences: Sequences, rows: Ints, num_items: int, weights: NDArray[Any]) -> sparse.csr_matrix:
    """Weights of the rows' events, added up by item: [B, V], column c for item c + 1."""
    offsets = np.concatenate([[0], np.cumsum(sequences.lengths[rows])])
    columns = sequences.bag(rows).values.numpy() - 1
    matrix = sparse.csr_matrix((weights.astype(np.float32), columns, offsets), shape=(len(rows), num_items))
    matrix.sum_duplicates()
    return matrix
