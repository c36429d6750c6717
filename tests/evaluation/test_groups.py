"""GAUC and list metrics against loops over groups."""

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score

from recsys.evaluation import gauc, list_metrics, ranking_metrics

rows = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 1), st.sampled_from([-1.5, -1.0, -0.0, 0.0, 0.5, 2.0])),
    min_size=1,
    max_size=60,
)


@given(rows, st.sampled_from(["number", "negative", "word"]), st.sampled_from([np.float32, np.float64]))
def test_gauc_equals_a_loop_over_groups(rows, kind, dtype):
    groups, labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    names = {"number": groups, "negative": groups - 3, "word": np.array([f"user {g}" for g in groups])}[kind]
    found = gauc(labels, scores.astype(dtype), names)
    total = weight = excluded = excluded_rows = 0
    for group in np.unique(groups):
        mine = groups == group
        if len(set(labels[mine])) == 2:
            total += mine.sum() * roc_auc_score(labels[mine], scores[mine])
            weight += mine.sum()
        else:
            excluded += 1
            excluded_rows += mine.sum()
    assert (found.num_excluded_groups, found.num_excluded_rows) == (excluded, excluded_rows)
    if weight:
        assert found.value == pytest.approx(total / weight)
    else:
        assert np.isnan(found.value)


@given(rows, st.integers(1, 6))
def test_list_metrics_equal_a_loop_over_queries(rows, k):
    queries, labels, scores = (np.array(column) for column in zip(*rows, strict=True))
    found = list_metrics(labels, scores, queries, [k])
    expected = {"hr": [], "recall": [], "ndcg": [], "mrr": []}
    for query in np.unique(queries):
        mine = sorted(zip(-scores[queries == query], labels[queries == query], strict=True))
        relevant = [label for _, label in mine]
        if not any(relevant):
            continue
        hits = [place for place, label in enumerate(relevant[:k], 1) if label]
        expected["hr"].append(float(bool(hits)))
        expected["recall"].append(len(hits) / sum(relevant))
        ideal = sum(1 / log2(1 + place) for place in range(1, min(k, sum(relevant)) + 1))
        expected["ndcg"].append(sum(1 / log2(1 + place) for place in hits) / ideal)
        expected["mrr"].append(1 / hits[0] if hits else 0.0)
    for name, values in expected.items():
        assert found.values[f"{name}@{k}"] == pytest.approx(values)
    assert found.num_excluded == len(np.unique(queries)) - len(expected["hr"])


def test_ndcg_is_that_of_scikit_learn_without_ties():
    generator = np.random.default_rng(0)
    labels, scores = generator.random((40, 30)) < 0.2, generator.random((40, 30))
    labels[:, 0] = True
    found = list_metrics(labels.ravel(), scores.ravel(), np.repeat(np.arange(40), 30), [10])
    assert found.values["ndcg@10"].mean() == pytest.approx(ndcg_score(labels, scores, k=10))


def test_one_relevant_item_gives_the_metrics_of_its_rank():
    generator = np.random.default_rng(1)
    scores = generator.integers(0, 5, (50, 20)).astype(float)
    labels = np.zeros((50, 20), dtype=int)
    labels[:, 0] = 1
    ranks = 1 + (scores[:, 1:] >= scores[:, :1]).sum(1)
    found = list_metrics(labels.ravel(), scores.ravel(), np.repeat(np.arange(50), 20), [5])
    expected = ranking_metrics(ranks, [5])
    assert {name: found.values[name].mean() for name in expected} == pytest.approx(expected)
