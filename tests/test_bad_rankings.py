"""Histories, counts, batches and rows given to metrics that cannot be meant, a line each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import tensor

from recsys.evaluation import Names, Rows, auc, pair_counts_of_batches, roc_points
from recsys.metrics.binary import BinaryMetrics, metrics_of
from recsys.metrics.next_item import RankingMetrics, exclude, in_history
from recsys.tables import Bag

LABELS, SCORES = np.array([0, 1, 1]), np.array([0.1, 0.2, 0.0])
COUNTS = tensor([0, 5, 1, 2])


def bag(values=(1, 2, 3), lengths=(1, 2), **options):
    return Bag(tensor(values, **options), tensor(lengths))


def ranked(history, counts=COUNTS):
    RankingMetrics(counts, cutoffs=(1,), list_length=2).update(torch.rand(2, 3), tensor([1, 3]), history)


def excluded(items, scores=None):
    exclude(torch.rand(2, 3) if scores is None else scores, items)


def held(items=((1,), (2,)), history=None, num_items=3):
    in_history(tensor(items), bag() if history is None else history, num_items)


def history_of_some():
    metrics = RankingMetrics(COUNTS, cutoffs=(1,), list_length=2)
    metrics.update(torch.rand(2, 3), tensor([1, 3]), bag())
    metrics.update(torch.rand(2, 3), tensor([1, 3]))


def binary(logits=(0.5, 1.0), labels=(0, 1), **changed):
    BinaryMetrics().update(tensor(logits), tensor(labels), **changed)


def computed(metrics, *batch):
    metrics.update(*batch)
    metrics.compute()


def rows(**changed):
    return Rows(**{"is_positive": LABELS == 1, "scores": SCORES, "weights": None, "others": {}, **changed})


def counted(*batch):
    pair_counts_of_batches(lambda: [batch], 10)


CALLS: dict[str, tuple[Callable[[], object], str]] = {
    # torch writes beyond its memory where these add up to more than the items.
    "more events than items": (lambda: ranked(bag(lengths=(2, 2))), "history .* add up to its 3 items, .* 4 in all"),
    "fewer events": (lambda: excluded(bag(lengths=(1, 1))), "items .* add up to its 3 items"),
    "negative lengths": (lambda: excluded(bag(lengths=(4, -1))), "at least 0 and add up to its 3 items, got -1"),
    "a session more": (lambda: ranked(bag(lengths=(1, 1, 1))), "history must be of 2 sessions, .* got 3"),
    "a session less": (lambda: excluded(bag((1,), (1,))), "items must be of 2 sessions"),
    "history elsewhere": (lambda: ranked(bag().to("meta")), "lengths of history must be integers on 'cpu', .* 'meta'"),
    "lengths of halves": (lambda: ranked(bag(lengths=(1.0, 2.0))), "lengths of history must be integers"),
    "float items": (lambda: excluded(bag((1.0, 1.5, 2.0))), "items must be integers, got torch.float32"),
    "an item beyond": (lambda: ranked(bag((9, 1, 2))), r"history must be in \[1, 3\], got 9"),
    "no item": (lambda: ranked(bag((0, 1, 2))), r"history must be in \[1, 3\], got 0"),
    "items in rows": (lambda: ranked(Bag(tensor([[1, 2, 3]]), tensor([1, 2]))), r"history must be a Tensor \[B\]"),
    "a list": (lambda: excluded([[1], [2, 3]]), "items must be a Bag of the items of 2 sessions, got list"),
    "history of some": (history_of_some, "history: some batches have it"),
    "whole scores": (lambda: excluded(bag(), torch.ones(2, 3).long()), "scores must be floats, got torch.int64"),
    "scores of numpy": (lambda: excluded(bag(), np.ones((2, 3))), "scores must be a Tensor .* got ndarray"),
    "a leaf": (lambda: excluded(bag(), torch.rand(2, 3, requires_grad=True)), "scores are a leaf .* scores.detach"),
    "items beyond": (lambda: held(num_items=1), r"items must be in \[0, 1\], got 2"),
    "half of a catalogue": (lambda: held(num_items=4.0), r"num_items must be a whole number .* got 4.0"),
    "other rows": (lambda: held(((1,),)), "history must be of 1 sessions"),
    "negative counts": (lambda: ranked(None, -COUNTS), "item_counts must be at least 0, got -5"),
    "true counts": (lambda: ranked(None, COUNTS > 0), "item_counts must be whole numbers"),
    "sparse counts": (lambda: ranked(None, COUNTS.to_sparse()), "item_counts must be whole numbers"),
    "imaginary labels": (lambda: binary(labels=(0, 1j)), "labels must be an ordinary tensor of real numbers"),
    "logits on meta": (
        lambda: computed(BinaryMetrics(), torch.ones(2, device="meta"), torch.ones(2, device="meta")),
        "BinaryMetrics: batches on 'meta' have no values",
    ),
    "scores on meta": (
        lambda: computed(
            RankingMetrics(COUNTS, (1,), 2), torch.ones(2, 3, device="meta"), torch.ones(2, device="meta").long()
        ),
        "RankingMetrics: batches on 'meta' have no values",
    ),
    "true groups": (lambda: binary(groups=tensor([True, False])), "groups must be whole numbers, got torch.bool"),
    "arrays of labels": (lambda: metrics_of(LABELS), "rows must be Rows, got"),
    "groups of others": (lambda: metrics_of(rows(), LABELS[:2]), "groups must be of the 3 rows, got 2"),
    "text as weights": (lambda: auc(LABELS, SCORES, list("123")), "weights must be numbers, got text"),
    "text in objects": (lambda: auc(LABELS, SCORES, np.array([1, "2", 3], dtype=object)), "weights .* got text"),
    "labels as places": (lambda: rows(is_positive=LABELS), r"Rows: is_positive must be an array \[N\] of truth values"),
    "other scores": (lambda: rows(scores=SCORES[:2]), "Rows: scores must have a value for each of 3 rows"),
    "lists beside": (lambda: rows(others={"user": [1, 2, 3]}), "Rows: user must have a value"),
    "other rows beside": (lambda: rows(others={"user": pa.array([1])}), "Rows: user must have a value"),
    "rows beyond": (lambda: rows().take(np.array([3])), "Rows.take: chosen must be"),
    "a short mask": (lambda: rows().take(np.array([True])), "Rows.take: chosen must be 3 truth values"),
    "one column twice": (lambda: Names("a", "a"), r"three columns with names, got \['a', 'a'\]"),
    "no column": (lambda: Names(""), "label, score and weight must be three columns"),
    "whole labels": (lambda: counted(LABELS, SCORES), "is_positive must be truth values .* int64"),
    "NaN scores": (lambda: counted(LABELS == 1, SCORES * np.nan), "batches: scores must be numbers, got NaN"),
    "rows as a batch": (
        lambda: pair_counts_of_batches(lambda: [rows()], 10),
        "batches must give pairs of arrays, .* got Rows",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_what_cannot_be_meant_is_refused(case):
    call, message = CALLS[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_items_of_32_bits_are_excluded_as_those_of_64():
    scores, narrow = torch.rand(2, 3), torch.rand(2, 3)
    narrow.copy_(scores)
    exclude(scores, bag())
    exclude(narrow, bag(dtype=torch.int32))
    assert torch.equal(scores, narrow)
    assert scores[0, 0] == scores[1, 1] == scores[1, 2] == -torch.inf


def test_points_without_end_are_all_that_there_are():
    assert np.array_equal(roc_points(LABELS, SCORES, num_points=10**9), roc_points(LABELS, SCORES))
