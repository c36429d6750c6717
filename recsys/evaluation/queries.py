"""Queries of ranking files: what each gains at every cutoff, from scored items or from the lists of sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.evaluation.checks import scaled
from recsys.evaluation.files import Rows, checked_row_weights
from recsys.evaluation.intervals import draws_of, if_enough
from recsys.evaluation.numbering import Codes, decoded, is_list, numbered_together
from recsys.evaluation.ranking import Gains, checked_cutoffs, metrics_of_lists, rank_gains
from recsys.evaluation.ratios import mean_intervals
from recsys.evaluation.slices import Slices
from recsys.evaluation.summary import Metric
from recsys.evaluation.tables import Part, TableFiles, joined

Flags = NDArray[np.bool_]
Ranks = NDArray[np.int64]
Values = NDArray[np.float64]

RANK, TARGET, ITEMS, SCORES = "rank", "target", "items", "scores"
"""Columns that `lightning predict` writes of sessions."""
OUT_OF_LIST = 2**62
"""Rank of a target that its list does not hold."""


@dataclass(frozen=True)
class Queries:
    """Queries with what each gains.

    Args:
        gains: [Q] by name.
        names: [Q] their numbers.
        num_relevant: [Q] their relevant items.
        weights: [Q], or None.
        others: [Q] further columns.
        num_excluded: queries that are left out because nothing is relevant to them.
    """

    gains: Gains
    names: Codes
    num_relevant: Ranks
    weights: Values | None = None
    others: Mapping[str, pa.Array] = field(default_factory=dict)
    num_excluded: int = 0

    def __len__(self) -> int:
        return len(self.names)

    def values_of(self, names: Sequence[str]) -> Values:
        """Some gains, and 1: [Q, names + 1]."""
        return np.stack([*(self.gains[name] for name in names), np.ones(len(self))], axis=1)

    def take(self, chosen: Flags | Codes) -> Queries:
        """The queries where `chosen` is true, or those at these places."""
        places = pa.array(np.flatnonzero(chosen) if chosen.dtype == bool else chosen)
        return replace(
            self,
            gains={name: gain[chosen] for name, gain in self.gains.items()},
            names=self.names[chosen],
            num_relevant=self.num_relevant[chosen],
            weights=None if self.weights is None else self.weights[chosen],
            others={name: column.take(places) for name, column in self.others.items()},
        )

    def that_weigh(self) -> Queries:
        """The queries whose weight is not 0.

        Raises:
            ValueError: if all weigh 0.
        """
        if self.weights is None:
            return self
        if len(self) and not self.weights.any():
            raise ValueError("weights: all queries weigh 0.")
        queries = self if self.weights.all() else self.take(self.weights > 0)
        assert queries.weights is not None
        return replace(queries, weights=scaled(queries.weights) if len(queries) else queries.weights)


def queries_of_lists(rows: Rows, codes: Codes, cutoffs: Sequence[int]) -> Queries:
    """Queries whose items are rows of their own; codes [N] number the query of each row.

    Raises:
        ValueError: a cutoff is below 1, or the rows of a query have different weights.
    """
    found = metrics_of_lists(rows.is_positive, rows.scores, codes, cutoffs)
    weights = None if rows.weights is None else _weights_of_queries(rows.weights, codes)[found.queries]
    return Queries(found.values, found.queries, found.num_relevant, weights, num_excluded=found.num_excluded)


def _weights_of_queries(weights: Values, codes: Codes) -> Values:
    """The weight of each query, which its rows all have: [codes.max() + 1]."""
    of_query = np.zeros(int(codes.max()) + 1)
    of_query[codes] = weights
    wrong = np.flatnonzero(of_query[codes] != weights)
    if len(wrong):
        raise ValueError(
            f"--weight: of a ranking file it is the query's, but the query of row {wrong[0]} has rows of weight "
            f"{weights[wrong[0]]} and {of_query[codes[wrong[0]]]}."
        )
    return of_query


def is_of_sessions(table: TableFiles) -> bool:
    """Whether each row is a query of its own: a target, with its rank or a list of items."""
    return TARGET in table.columns and (RANK in table.columns or ITEMS in table.columns)


def queries_of_sessions(
    table: TableFiles, cutoffs: Sequence[int] | None, weight: str | None, others: Sequence[str]
) -> Queries:
    """Queries whose row has the target's rank, or, without one, the list of items shown.

    Args:
        table: with a target, and rank, or items and perhaps their scores; equal scores count against the target.
        cutoffs: list lengths; by default those of 5, 10 and 20 that the lists reach.
        weight: column of the queries' weights.
        others: further columns to read.

    Raises:
        ValueError: a column is missing or holds something else, or a cutoff is longer than the lists.
    """
    read = (TARGET, RANK) if RANK in table.columns else (TARGET, ITEMS, SCORES)
    names = [name for name in read if name in table.columns]
    wanted = list(dict.fromkeys([*names, *([weight] if weight else []), *others]))
    table.require(wanted)
    ranks, weights, lengths = [], [], []
    columns: dict[str, list[pa.Array]] = {name: [] for name in others}
    for part in table.parts(wanted):
        part.refuse(TARGET, np.asarray(pc.is_null(part.names(TARGET))), "the target is missing")
        found, length = (_stored_ranks(part), OUT_OF_LIST) if RANK in names else _listed_ranks(part)
        ranks.append(found)
        lengths.append(length)
        weights.append(checked_row_weights(part, weight))
        for name in others:
            columns[name].append(part.names(name))
    all_ranks = np.concatenate(ranks)
    return Queries(
        rank_gains(all_ranks, _reached(cutoffs, max(lengths))),
        np.arange(len(all_ranks)),
        np.ones(len(all_ranks), dtype=np.int64),
        None if weight is None else np.concatenate([each for each in weights if each is not None]),
        {name: joined(parts, name) for name, parts in columns.items()},
    )


def _reached(cutoffs: Sequence[int] | None, length: int) -> tuple[int, ...]:
    if cutoffs is None:
        return tuple(k for k in (5, 10, 20) if k <= length) or (length,)
    longest = max(checked_cutoffs(cutoffs))
    if longest > length:
        raise ValueError(f"--cutoffs {longest}: the lists hold {length} items, and there is no column '{RANK}'.")
    return tuple(cutoffs)


def _stored_ranks(part: Part) -> Ranks:
    values = part.numbers(RANK, truth_values=False)
    part.refuse(RANK, ~((values >= 1) & (values == np.floor(values))), "ranks are whole numbers from 1", values)
    return values.astype(np.int64)


def _listed_ranks(part: Part) -> tuple[Ranks, int]:
    """Rank of each target in its list, and the length of the longest list."""
    members, rows = _flat(part, ITEMS)
    target, items = (each.codes for each in numbered_together([part.names(TARGET), members], ITEMS))
    _refuse_repeated(part, members, items, rows)
    is_target = (items == target[rows]) & (items >= 0)
    places = np.arange(len(rows)) - np.searchsorted(rows, rows)
    ranks = np.full(len(part), OUT_OF_LIST)
    if SCORES in part.rows.schema.names:
        values, of_scores = _flat(part, SCORES)
        if not _is_number(values.type) or not np.array_equal(rows, of_scores):
            raise ValueError(f"{part.path}, column '{SCORES}': must hold a number for each of '{ITEMS}'.")
        scores = values.to_numpy().astype(np.float64)
        wrong = ~(scores < np.inf)
        part.refuse(SCORES, np.bincount(rows[wrong], minlength=len(part)) > 0, "a score is NaN or infinite")
        own = np.full(len(part), np.inf)
        own[rows[is_target]] = scores[is_target]
        counts = np.bincount(rows[scores >= own[rows]], minlength=len(part))
        held = np.flatnonzero(np.isfinite(own))
        ranks[held] = counts[held]
    else:
        np.minimum.at(ranks, rows[is_target], places[is_target] + 1)
    return ranks, int(places.max(initial=0)) + 1


def _refuse_repeated(part: Part, members: pa.Array, items: Codes, rows: Ranks) -> None:
    """An item stands once in a list; only 0, with which `lightning predict` fills a list, may be there again."""
    order = np.lexsort((items, rows))
    again = (np.diff(items[order]) == 0) & (np.diff(rows[order]) == 0)
    places = order[1:][again]
    if pa.types.is_integer(members.type):
        places = places[members.take(pa.array(places)).to_numpy() != 0]
    part.refuse(ITEMS, np.isin(np.arange(len(part)), rows[places]), "an item stands in the list twice")


def _flat(part: Part, name: str) -> tuple[pa.Array, Ranks]:
    """Members of a column of lists, and the row of each.

    Raises:
        ValueError: the column holds something else, or a list or a member is missing.
    """
    column = decoded(part.rows.column(name))
    if not is_list(column.type):
        raise ValueError(f"{part.path}, column '{name}': must hold a list in every row, got {column.type}.")
    flat, rows = pc.list_flatten(column), pc.list_parent_indices(column).to_numpy().astype(np.int64)
    if column.null_count or flat.null_count:
        raise ValueError(f"{part.path}, column '{name}': a list, or one of its members, is missing.")
    return flat, rows


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def summarize_queries(
    queries: Queries, groups: Codes | None, cuts: Mapping[str, Slices], confidence: float
) -> Iterator[Metric]:
    """Every gain of all queries, and HR and NDCG at the middle cutoff of each slice that has any.

    Args:
        queries: that weigh something.
        groups: [Q] users whose queries are drawn together, numbered from 0; None where queries are independent.
        cuts: slices of the queries.
        confidence: of the intervals.
    """
    names = list(queries.gains)
    yield from _summary("all", "all", queries, groups, names, confidence)
    lengths = list(dict.fromkeys(name.partition("@")[2] for name in names))
    shown = [f"{name}@{lengths[len(lengths) // 2]}" for name in ("hr", "ndcg")]
    for cut, slices in cuts.items():
        for part, inside in slices.items():
            if inside.any():
                mine = None if groups is None else groups[inside]
                yield from _summary(cut, part, queries.take(inside), mine, shown, confidence)


def _summary(
    cut: str, part: str, queries: Queries, groups: Codes | None, names: Sequence[str], confidence: float
) -> Iterator[Metric]:
    draws = draws_of(queries.values_of(names), queries.weights, groups)
    found_of = if_enough(mean_intervals(names, draws, confidence), draws.number)
    for name, found in found_of.items():
        yield Metric.of(cut, part, name, found, len(queries))
