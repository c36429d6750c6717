"""The report of rankings: of scored items of queries, or of the ranks that `lightning predict` writes of sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from recsys.evaluation.checks import group_codes, numbered_queries
from recsys.evaluation.click_report import lost, weight_notes
from recsys.evaluation.files import PredictionFiles, Rows
from recsys.evaluation.intervals import Comparison, few_draws, num_draws_of
from recsys.evaluation.numbering import Codes, numbered_together
from recsys.evaluation.paired import compare_queries, require_same
from recsys.evaluation.pairing import pair
from recsys.evaluation.plots import slice_bars
from recsys.evaluation.queries import (
    TARGET,
    Queries,
    is_of_sessions,
    queries_of_lists,
    queries_of_sessions,
    summarize_queries,
)
from recsys.evaluation.report import Report
from recsys.evaluation.request import Request
from recsys.evaluation.summary import Metric
from recsys.evaluation.tables import TableFiles

CUTOFFS = (5, 10, 20)


def ranking_report(request: Request) -> Report:
    """Evaluate rankings.

    Raises:
        ValueError: on bad input, naming file, column and row.
    """
    table = TableFiles(request.files)
    return _of_sessions(request, table) if is_of_sessions(table) else _of_lists(request, table)


def _of_lists(request: Request, table: TableFiles) -> Report:
    """Rows are items of the queries that the group names."""
    if request.group is None:
        raise ValueError("--ranking needs --group, the column of queries.")
    unmet = [f"--{name}" for name in ("slice", "frequency", "time", "key") if getattr(request, name)]
    if request.logits:
        raise ValueError("--ranking goes by the order of scores, of whichever kind; leave out --logits.")
    if unmet:
        raise ValueError(f"--ranking of scored items allows no {', '.join(unmet)}: queries are joined, and not cut.")
    rows = _rows(request, table)
    codes = numbered_queries(rows.others[request.group], request.group).codes
    given = queries_of_lists(rows, codes, request.cutoffs or CUTOFFS)
    queries = given.that_weigh()
    comparison = _compare_lists(request, rows, request.group) if request.against else {}
    notes = [
        f"{len(rows):,} rows. Intervals at {request.confidence:.0%}: linearised over queries.",
        *few_draws(num_draws_of(len(queries), queries.weights, None), "queries"),
        f"{given.num_excluded:,} of {given.num_excluded + len(given):,} queries have no relevant item: left out.",
        *weight_notes(request, table, request.weight_of(table), queries.weights, len(given) - len(queries)),
    ]
    metrics = list(summarize_queries(queries, None, {}, request.confidence))
    return Report(request.words, metrics, comparison, notes)


def _compare_lists(request: Request, first: Rows, query: str) -> dict[str, Comparison]:
    table = TableFiles(request.against)
    names = replace(request.names_of_second(table), others=(query,), logits=True)
    second = PredictionFiles(request.against, names).all()
    numbers = numbered_together([rows.others[query] for rows in (first, second)], query)
    one, two = (
        queries_of_lists(rows, each.codes, request.cutoffs or CUTOFFS)
        for rows, each in zip((first, second), numbers, strict=True)
    )
    require_same(one, two)
    return _compare(one, two, None, request.confidence)


def _of_sessions(request: Request, table: TableFiles) -> Report:
    """Each row is a query; the group names users whose queries are drawn together."""
    unused = [f"--{name}" for name in ("label", "score", "logits") if getattr(request, name)]
    if unused:
        raise ValueError(
            f"{table.paths[0]}: rows of sessions have a target and its rank; leave out {', '.join(unused)}."
        )
    weight = request.weight_of(table)
    given = queries_of_sessions(table, request.cutoffs, weight, request.columns)
    queries = given.that_weigh()
    cuts = request.cuts(dict(queries.others), queries.weights)
    groups = _groups(request, queries)
    metrics = list(summarize_queries(queries, groups, cuts, request.confidence))
    comparison, said = _compare_sessions(request, table, given) if request.against else ({}, [])
    how = "rows, taken as independent" if request.group is None else f"groups of rows with one '{request.group}'"
    notes = [
        f"{len(queries):,} rows, one target each. Intervals at {request.confidence:.0%}: linearised over {how}.",
        *few_draws(num_draws_of(len(queries), queries.weights, groups), "rows" if groups is None else "groups"),
        *weight_notes(request, table, weight, queries.weights, len(given) - len(queries)),
        *lost(cuts),
        *said,
    ]
    figures = {f"NDCG by {cut}": slice_bars(metrics, cut, _shown(metrics, cut)) for cut in cuts}
    return Report(request.words, metrics, comparison, notes, figures)


def _shown(metrics: Sequence[Metric], cut: str) -> str:
    """The metric that a cut's picture shows."""
    return next(metric.name for metric in metrics if metric.cut == cut and metric.name.startswith("ndcg"))


def _compare_sessions(request: Request, table: TableFiles, first: Queries) -> tuple[dict[str, Comparison], list[str]]:
    others = TableFiles(request.against)
    if not is_of_sessions(others):
        raise ValueError(f"{others.paths[0]}: has no rank of a target or list of items, which {table.paths[0]} has.")
    weight = request.weight_of(table)
    second = queries_of_sessions(others, request.cutoffs, weight if weight in others.columns else None, ())
    checked = [*([weight] if weight else []), TARGET]
    pairing = pair(table, others, (len(first), len(second)), request.key, request.columns, checked)
    one, two = first.take(pairing.first), second.take(pairing.second)
    targets = [each.column(TARGET).take(pa.array(p)) for each, p in ((table, pairing.first), (others, pairing.second))]
    mine, theirs = (each.codes for each in numbered_together(targets, TARGET))
    if not np.array_equal(mine, theirs):
        raise ValueError(
            f"the two predictions are not of the same rows: {np.count_nonzero(mine != theirs):,} of {len(one):,} have "
            "another target; give both in the same order, or join by --key."
        )
    if one.weights is not None and two.weights is not None and not np.array_equal(one.weights, two.weights):
        raise ValueError("the two predictions are not of the same rows: some have another weight.")
    return _compare(one, two, _groups(request, one), request.confidence), list(pairing.notes)


def _compare(one: Queries, two: Queries, groups: Codes | None, confidence: float) -> dict[str, Comparison]:
    """Differences on the queries that weigh something in the first."""
    if one.weights is None:
        return compare_queries(one, two, groups, confidence)
    kept = one.weights > 0
    weighted = replace(two, weights=one.weights)
    mine = None if groups is None else groups[kept]
    return compare_queries(one.take(kept).that_weigh(), weighted.take(kept), mine, confidence)


def _groups(request: Request, queries: Queries) -> Codes | None:
    return group_codes(queries.others[request.group], request.group) if request.group else None


def _rows(request: Request, table: TableFiles) -> Rows:
    # Ranking needs an order only, so any score will do.
    return PredictionFiles(table.paths, replace(request.names(table), logits=True)).all()
