"""Arrays and tensors given to metrics, losses and models that cannot be meant, a line each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn, tensor

from recsys.comparison import pareto_front
from recsys.description import effective_rank
from recsys.evaluation import auc, auc_interval, gauc, list_metrics, log_loss, ranking_metrics, reliability, roc_points
from recsys.losses import Catalogue, Cosine, DotProduct, item_side, linear_cross_entropy, log_totals, query_side
from recsys.metrics.binary import BinaryMetrics
from recsys.metrics.next_item import RankingMetrics, exclude, ranks_of_targets
from recsys.models import BERT4Rec, DCNv2, DeepFM, LogisticRegression
from recsys.planning import Column, allocate
from recsys.tables import Bag, FullTable

NAN, HUGE = float("nan"), 10**30
LABELS, SCORES = [0, 1, 1], [0.1, 0.2, 0.0]
VECTORS, THREE = torch.ones(3, 2), torch.arange(3)
COUNTS = tensor([0, 5, 1, 2])


def ranked(**changed):
    metrics = RankingMetrics(COUNTS, cutoffs=(1,), list_length=2)
    metrics.update(**{"scores": torch.randn(2, 3), "targets": tensor([1, 3]), **changed})


def binary(**changed):
    BinaryMetrics().update(**{"logits": torch.zeros(2), "labels": torch.zeros(2), **changed})


def linear(embeddings, dense, of=LogisticRegression, **options):
    return of(3, 4, 2, **options)(embeddings, dense)


def deep(embeddings, dense):
    return linear(embeddings, dense, DeepFM, hidden_dims=[4])


NESTED = torch.nested.nested_tensor([torch.ones(2, 2), torch.ones(1, 2)])

CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "dates as weights": (
        lambda: auc(LABELS, SCORES, np.array(["2026-01-01"] * 3, dtype="M8[s]")),
        "weights must be numbers, got datetime64",
    ),
    "records as labels": (lambda: auc(np.zeros(3, dtype=[("a", int)]), SCORES), r"labels must be 0 or 1, got records"),
    "nested queries": (lambda: log_totals(NESTED, VECTORS), "queries must be a matrix .* nested"),
    "items on meta": (lambda: log_totals(VECTORS, VECTORS.to("meta")), "must be on one device, got 'cpu' and 'meta'"),
    "sparse targets of a loss": (
        lambda: linear_cross_entropy(VECTORS, VECTORS, THREE.to_sparse()),
        "targets .* ordinary tensor",
    ),
    "targets on meta": (lambda: linear_cross_entropy(VECTORS, VECTORS, THREE.to("meta")), "targets must be on 'cpu'"),
    "nested hidden states": (lambda: query_side(Cosine(), NESTED), "hidden must be an ordinary tensor .* nested"),
    "quantised vectors": (
        lambda: item_side(DotProduct(), torch.quantize_per_tensor(VECTORS, 0.1, 0, torch.qint8)),
        "vectors must be .* quantised",
    ),
    "a gradient": (
        lambda: auc(LABELS, tensor(SCORES, requires_grad=True)),
        r"scores must be an array, got Tensor \(Can't",
    ),
    "bfloat16": (lambda: auc(LABELS, tensor(SCORES).bfloat16()), "scores must be an array, got Tensor"),
    "ragged": (lambda: auc(LABELS, [[1], [2, 3], [4]]), "scores must be an array, got list"),
    "masked": (
        lambda: auc(np.ma.masked_array(LABELS, [0, 0, 1]), SCORES),
        "labels: a masked array has values that do not count",
    ),
    "wider than a float": (
        lambda: auc(LABELS, np.longdouble(SCORES)),
        "scores must be of 64 bits at most, got float128",
    ),
    "a logit that no loss adds up": (
        lambda: log_loss(LABELS, [1e308, 0.5, -1], logits=True),
        r"logits must be within 1e\+100 of 0, or infinite, got 1e\+308",
    ),
    "groups beyond integers": (lambda: gauc(LABELS, SCORES, [2**70] * 3), "groups must be"),
    "mixed groups": (lambda: gauc(LABELS, SCORES, [1, "1", 1]), "groups must be of one kind"),
    "no groups": (lambda: gauc(LABELS, SCORES, None), "gauc: groups must be of every row, got None; auc needs none"),
    "all but certain": (lambda: auc_interval(LABELS, SCORES, 1 - 1e-16), "confidence must be in"),
    "bins without end": (lambda: reliability(LABELS, SCORES, num_bins=10**13), "num_bins must be in .1, 1048576"),
    "no points": (lambda: roc_points(LABELS, SCORES, num_points=-9), "num_points must be at least 1, got -9"),
    "a true cutoff": (
        lambda: list_metrics(LABELS, SCORES, LABELS, (True,)),
        r"cutoffs must be a list of int, got \(True",
    ),
    "a cutoff": (lambda: list_metrics(LABELS, SCORES, LABELS, 5), "cutoffs must be a list of int, got 5"),
    "half a rank": (
        lambda: ranking_metrics(np.array([1.5, 2.0])),
        r"ranks must be whole numbers \[Q\], got \[2\] of float64",
    ),
    "ranks in a list": (lambda: ranking_metrics([1, 2]), "ranks must be ndarray, got"),
    "more bytes than names": (lambda: pareto_front([1.0, 2.0], [0.5]), "of the same contenders, got 2 and 1"),
    "a vector": (lambda: effective_rank(THREE), r"vectors must be a matrix \[N, D\]"),
    "a NaN": (lambda: effective_rank(NAN * VECTORS), "vectors must be finite"),
    "no item": (
        lambda: exclude(VECTORS.clone(), Bag(tensor([0]), tensor([1, 0, 0]))),
        r"items must be in \[1, 2\], got 0",
    ),
    "a strange item": (lambda: exclude(VECTORS.clone(), Bag(tensor([3]), tensor([1, 0, 0]))), r"\[1, 2\], got 3"),
    "targets of others": (lambda: ranks_of_targets(VECTORS, THREE), r"targets must be columns of scores, in \[0, 1\]"),
    "target 0": (lambda: ranked(targets=tensor([0, 1])), "targets must be columns of scores"),
    "sparse targets": (
        lambda: ranked(targets=tensor([1, 3]).to_sparse()),
        r"targets must be a Tensor \[B\], got \[2\]",
    ),
    "a target": (lambda: ranked(targets=tensor([1])), "must be of the same rows, got 2 and 1"),
    "float targets": (
        lambda: ranked(targets=tensor([1.0, 2.0])),
        "targets integers, got torch.float32 and torch.float32",
    ),
    "other items": (lambda: ranked(scores=torch.ones(2, 4)), "scores must be of 3 items, got 4"),
    "a list of seen": (lambda: ranked(history=[1]), r"history must be Bag or None, got \[1\]"),
    "counts of nothing": (lambda: RankingMetrics(tensor([0])), "item_counts must be whole numbers"),
    "no list": (lambda: RankingMetrics(COUNTS, list_length=0), "list_length must be at least 1, got 0"),
    "half a group": (lambda: binary(groups=tensor([1.0, 1.5])), "groups must be whole numbers, got torch.float32"),
    "whole logits": (lambda: binary(logits=tensor([1, 2])), "scores must be floats, got torch.int64"),
    "queries in rows": (lambda: log_totals(VECTORS[None], VECTORS), "queries must be a matrix of .*, got .1, 3, 2."),
    "wider items": (lambda: log_totals(VECTORS, torch.ones(3, 5)), r"must have one width .* got \[3, 2\] and \[3, 5\]"),
    "target V": (lambda: linear_cross_entropy(VECTORS, VECTORS, THREE + 1), r"targets must be in \[0, 3\), got 3"),
    "two targets": (lambda: linear_cross_entropy(VECTORS, VECTORS, THREE[:2]), r"targets must be .* \[3\], got \[2\]"),
    "counts of others": (lambda: Catalogue(4, COUNTS), r"counts must be \[num_items \+ 1 = 5\], got \[4\]"),
    "another width": (
        lambda: linear(torch.ones(2, 3, 5), torch.ones(2, 2)),
        r"embeddings must be .* \[B, 3, 4\], got \[2, 3, 5\]",
    ),
    "values to broadcast": (
        lambda: linear(torch.ones(2, 3, 4), torch.ones(2)),
        r"dense must be .* \[B, 2\], got \[2\]",
    ),
    "a row for all": (lambda: linear(torch.ones(5, 3, 4), torch.ones(1, 2)), "equally many rows, .*, got 5"),
    "whole values": (lambda: deep(torch.ones(2, 3, 4), torch.ones(2, 2).long()), "dense must be floating-point"),
    "double values": (lambda: deep(torch.ones(2, 3, 4), torch.ones(2, 2).double()), "must be of its parameters. dtype"),
    "nothing embedded": (lambda: deep(None, torch.ones(2, 2)), "embeddings must be .*, got NoneType"),
    "layers without end": (
        lambda: DCNv2(3, 4, 2, num_cross_layers=HUGE),
        "num_cross_layers must be at most",
    ),
    "blocks without end": (lambda: BERT4Rec(4, 5, num_blocks=1_001), "num_blocks must be at most 1000, got 1001"),
    "width without end": (lambda: DeepFM(3, 4, 2, hidden_dims=[HUGE]), "hidden_dims must be at most"),
    "too wide for memory": (lambda: DeepFM(3, 4, 2, hidden_dims=[10**14]), "DeepFM: .* does not fit into memory"),
    "a width beyond memory": (lambda: DeepFM(2**62, 4, 2, hidden_dims=[4]), "DeepFM: .* does not fit into memory"),
    "no activation": (
        lambda: DeepFM(3, 4, 2, activation=nn.Linear),
        "activation must be built without arguments, .* Linear",
    ),
    "an activation of others": (lambda: DeepFM(3, 4, 2, activation=FullTable), "activation must be built without"),
    "no counts": (lambda: Column("a", np.array([0.5])), r"'a': counts must be whole numbers \[V\]"),
    "no lookups": (
        lambda: allocate([Column("a", np.array([1]))], 8, 64, num_lookups=0),
        "num_lookups must be at least 1",
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_what_cannot_be_meant_is_refused(case):
    call, message = CALLS[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_names_that_end_in_zeros_are_names():
    assert gauc([0, 1, 1, 0], [0.1, 0.2, 0.3, 0.4], ["a", "a\0", "a", "a\0"]).num_excluded_groups == 0
    assert len(gauc([0, 1, 1, 0], [0.1, 0.2, 0.3, 0.4], ["a", "a\0", "a", "a\0"]).areas) == 2
