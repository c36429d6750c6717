"""The report of predictions of clicks: everything that is known of labels and scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recsys.evaluation.calibration import reliability
from recsys.evaluation.checks import group_codes, require_both_labels
from recsys.evaluation.files import PredictionFiles, Rows
from recsys.evaluation.intervals import Comparison, are_whole, few_draws, num_draws_of
from recsys.evaluation.means import probabilities
from recsys.evaluation.numbering import MISSING, Codes
from recsys.evaluation.paired import compare_rows
from recsys.evaluation.pairing import Pairing, pair
from recsys.evaluation.plots import reliability_curve, roc_curve, slice_bars
from recsys.evaluation.precision_recall import roc_points
from recsys.evaluation.queries import is_of_sessions
from recsys.evaluation.report import Report
from recsys.evaluation.request import Request
from recsys.evaluation.slices import Slices
from recsys.evaluation.summary import summarize, summarize_slices, summarize_stream, value_of
from recsys.evaluation.tables import TableFiles

BYTES_PER_ROW = 120  # of all metrics in memory, at their peak
STREAM_BYTES_PER_ROW = 40  # of the exact AUC alone


def click_report(request: Request) -> Report:
    """Evaluate predictions of clicks; rows that do not fit in memory are streamed.

    Raises:
        ValueError: on bad input, naming file, column and row.
    """
    table = TableFiles(request.files)
    if is_of_sessions(table) and (request.label or "label") not in table.columns:
        raise ValueError(f"{table.paths[0]}: rows have targets of sessions and no labels; give --ranking.")
    files = PredictionFiles(request.files, request.names(table))
    num_rows, budget = files.num_rows(), int(request.memory * 2**30)
    if num_rows is not None and num_rows * BYTES_PER_ROW > budget:
        return _streamed(request, files, budget // STREAM_BYTES_PER_ROW)
    given = files.all()
    require_both_labels(given.is_positive, given.weights)
    rows = given.that_weigh()
    groups = group_codes(rows.others[request.group], request.group) if request.group else None
    cuts = request.cuts(rows.others, rows.weights)
    notes = [*_notes(request, files, given, rows, groups), *_group_notes(request, rows, groups), *lost(cuts)]
    metrics = [
        *summarize(rows, groups, request.confidence),
        *summarize_slices(rows, groups, cuts, request.confidence),
    ]
    comparison: dict[str, Comparison] = {}
    if request.against:
        comparison, said = _compare(request, files, given)
        notes += said
    p = probabilities(rows.scores, rows.logits)
    figures = {
        "ROC curve": roc_curve(roc_points(rows.is_positive, rows.scores, rows.weights), value_of(metrics, "auc")),
        "Reliability": reliability_curve(reliability(rows.is_positive, p, rows.weights)),
        **{f"AUC by {cut}": slice_bars(metrics, cut) for cut in cuts},
    }
    return Report(request.words, metrics, comparison, notes, figures)


def _compare(request: Request, files: PredictionFiles, first: Rows) -> tuple[dict[str, Comparison], list[str]]:
    """The differences to the second model on the rows of both, and what to know of them."""
    table = TableFiles(request.against)
    names = request.names_of_second(table)
    second = PredictionFiles(request.against, names).all()
    checked = [name for name in (names.label, names.score, files.names.score, files.names.weight) if name]
    pairing = pair(files.table, table, (len(first), len(second)), request.key, request.columns, checked)
    one, two = _in_pairs(first, second, pairing)
    groups = group_codes(one.others[request.group], request.group) if request.group else None
    return compare_rows(one, two, groups, request.confidence), list(pairing.notes)


def _in_pairs(first: Rows, second: Rows, pairing: Pairing) -> tuple[Rows, Rows]:
    """The rows of both, pair by pair, that weigh something."""
    one, two = first.take(pairing.first), second.take(pairing.second)
    for name, mine, theirs in (("label", one.is_positive, two.is_positive), ("weight", one.weights, two.weights)):
        if mine is not None and theirs is not None and not np.array_equal(mine, theirs):
            differing = int(np.count_nonzero(mine != theirs))
            raise ValueError(
                f"the two predictions are not of the same rows: {differing:,} of {len(one):,} have another {name}."
            )
    two = replace(two, weights=one.weights, others=one.others)
    return one.that_weigh(), two.that_weigh()


def _streamed(request: Request, files: PredictionFiles, memory_rows: int) -> Report:
    given = ("group", "slice", "frequency", "time", "against")
    unmet = [f"--{name}" for name in given if getattr(request, name)] + ["--weight"] * (files.names.weight is not None)
    if unmet:
        raise ValueError(
            f"{files.num_rows():,} rows take more than --memory {request.memory:g} GiB, and streamed rows allow no "
            f"{', '.join(unmet)}; raise --memory or leave them out."
        )
    note = (
        f"Streamed: the rows do not fit in {request.memory:g} GiB, so metrics that need all rows at once are left out."
    )
    return Report(request.words, summarize_stream(files, request.confidence, memory_rows), notes=[note])


def _notes(request: Request, files: PredictionFiles, given: Rows, rows: Rows, groups: Codes | None) -> list[str]:
    if request.group is None:
        how = "DeLong for AUC (rows taken as independent), linearised over rows for the others"
    else:
        how = "DeLong clustered by group for AUC (Obuchowski, 1997), linearised over groups for the others"
    positives = int(np.count_nonzero(rows.is_positive))
    num_draws = num_draws_of(len(rows), rows.weights, groups)
    p = probabilities(rows.scores, rows.logits)
    wrong = int(np.count_nonzero(np.where(rows.is_positive, p == 0, p == 1))) if not rows.logits else 0
    notes = [
        f"{len(rows):,} rows, {positives:,} of them with label 1. Intervals at {request.confidence:.0%}: {how}.",
        *few_draws(num_draws, "rows" if groups is None else "groups"),
        *([f"{wrong:,} scores are 0 or 1 where the label is the other: the log loss is infinite."] if wrong else []),
        *weight_notes(request, files.table, files.names.weight, rows.weights, len(given) - len(rows)),
    ]
    return notes


def weight_notes(
    request: Request, table: TableFiles, name: str | None, weights: np.ndarray | None, num_without: int
) -> list[str]:
    """What weights do, or that a column of that name does nothing."""
    if weights is None:
        unused = "weight" in table.columns and request.weight is None
        return ["Column 'weight' is not used; --weight weight does."] if unused else []
    without = f" {num_without:,} weigh nothing and are left out." if num_without else ""
    notes = [f"Weighted by '{name}', {weights.sum():,.6g} in all: weight 2 is the row twice.{without}"]
    if request.group is None and not are_whole(weights):
        notes.append(
            "Weights are not whole, so they count no rows: intervals need --group, which tells what was drawn."
        )
    return notes


def _group_notes(request: Request, rows: Rows, groups: Codes | None) -> list[str]:
    if groups is None or request.group is None:
        return []
    counts = np.bincount(groups)
    positives, counts = np.bincount(groups, rows.is_positive)[counts > 0], counts[counts > 0]
    single = (positives == 0) | (positives == counts)
    notes = [
        f"GAUC leaves out groups with one label only: {int(single.sum()):,} of {len(counts):,} groups, "
        f"{int(counts[single].sum()):,} rows."
    ]
    missing = rows.others[request.group].null_count
    return notes + ([f"{missing:,} rows have no '{request.group}': each is a group of its own."] if missing else [])


def lost(cuts: dict[str, Slices]) -> list[str]:
    """How many rows of a cut by frequency have an id that the counts do not have, or none."""
    return [
        f"By {cut}: {int(slices['unseen'].sum()):,} rows have an id that the counts do not have, or that occurs never; "
        f"{int(slices[MISSING].sum()):,} have none."
        for cut, slices in cuts.items()
        if "unseen" in slices and cut.startswith("frequency of ")
    ]
