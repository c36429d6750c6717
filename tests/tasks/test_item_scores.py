"""Equal items tie exactly, whatever their places and the number of queries; scores that rank nothing are refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.losses import Cosine, DotProduct, query_side
from recsys.metrics.next_item import ranks_of_targets
from recsys.models import ConcatFusion
from recsys.tables import ContentTable, GateTable, HashTable, MixedDimTable, SemanticIdTable, SumTable
from recsys.tasks import equal_items
from recsys.tasks.equal_items import equal_rows
from recsys.tasks.item_scores import ItemScores
from tests.tasks.made_items import DIM, Items, make_task, padded


@st.composite
def duplicated(draw):
    """Vectors of which some are at several places, and which of them each place has."""
    num_distinct, num_items = draw(st.integers(1, 30)), draw(st.integers(1, 131))
    chosen = draw(st.lists(st.integers(0, num_distinct - 1), min_size=num_items, max_size=num_items))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    return torch.randn(num_distinct, draw(st.sampled_from([3, 64])), generator=generator), torch.tensor(chosen)


@pytest.mark.parametrize("scoring", [DotProduct(), Cosine()], ids=["dot", "cosine"])
@given(duplicated(), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_equal_vectors_tie_exactly(scoring, items, num_queries):
    vectors, chosen = items
    queries = query_side(scoring, torch.randn(num_queries, vectors.shape[1]))
    scores = ItemScores(vectors[chosen], scoring)(queries)
    assert_close(scores, queries @ scoring.items(vectors[chosen]).t(), rtol=1e-5, atol=1e-5)
    for which in chosen.unique():
        same = scores[:, chosen == which]
        assert torch.equal(same, same[:, :1].expand_as(same))
    target = torch.full((num_queries,), len(chosen) - 1)
    worst = [sum(s >= row[-1] for s in row) for row in scores.tolist()]
    assert ranks_of_targets(scores, target).tolist() == worst


def test_scores_do_not_depend_on_the_other_queries():
    torch.manual_seed(0)
    scores = ItemScores(torch.randn(12_101, 64), DotProduct())
    queries = torch.randn(9, 64)
    whole = scores(queries)
    for size in range(1, 9):
        assert torch.equal(torch.cat([scores(part) for part in queries.split(size)]), whole)


@given(st.lists(st.tuples(st.sampled_from([0.0, -0.0, 1.0, 2.0]), st.sampled_from([0.0, 1.0, -1.0])), max_size=20))
def test_equal_rows_are_those_that_compare_equal(rows):
    values = torch.tensor(rows, dtype=torch.float32).reshape(-1, 2)
    firsts, places = equal_rows(values)
    places = torch.arange(len(rows)) if places is None else places
    assert [rows[first] for first in firsts.tolist()] == [rows[rows.index(rows[first])] for first in firsts.tolist()]
    assert len(set(rows)) == len(firsts)
    assert [rows.index(row) for row in rows] == firsts[places].tolist()


def test_rows_that_share_a_key_by_chance_are_told_apart(monkeypatch):
    monkeypatch.setattr(equal_items, "row_keys", lambda rows: torch.zeros(len(rows), dtype=torch.int64))
    firsts, places = equal_rows(torch.tensor([[1.0], [2.0], [1.0]]))
    assert firsts[places].tolist() == [0, 1, 0]


def semantic_ids(name, num_embeddings, embedding_dim, **arguments):
    """Codes of which the last items have only the first, or none: they were never in a training event."""
    codes = torch.stack([torch.arange(num_embeddings) % 3, torch.arange(num_embeddings) % 2])
    codes[1, -5:], codes[0, -2:] = -1, -1
    return SemanticIdTable(name, num_embeddings, embedding_dim, codes=codes, **arguments)


def alike_content(name, num_embeddings, embedding_dim, **arguments):
    """Five vectors of which every item has one, or none."""
    vectors = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))[torch.arange(num_embeddings) % 5]
    vectors[-2:] = 0
    return ContentTable(name, num_embeddings, embedding_dim, vectors=vectors, **arguments)


def gated(name, num_embeddings, embedding_dim):
    """Both, weighted otherwise in every group of frequency."""
    table = GateTable(name, num_embeddings, embedding_dim, tables=[semantic_ids, alike_content])
    torch.nn.init.normal_(table.gate)
    return table


def summed(name, num_embeddings, embedding_dim):
    """Both, added: ids that differ are alike in both."""
    return SumTable(name, num_embeddings, embedding_dim, tables=[semantic_ids, alike_content])


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize(
    "describe",
    [
        {"item_features": ["colour", "size"], "fusion": ConcatFusion},
        {"tables": {"default": lambda n, v, d: HashTable(n, v, d, num_rows=3)}},
        {"tables": {"default": lambda n, v, d: summed(n, v, d)}, "item_features": ["colour", "size"]},
        {"item_features": ["colour"], "tables": {"default": lambda n, v, d: MixedDimTable(n, v, d, row_dim=2)}},
        {"tables": {"default": lambda n, v, d: semantic_ids(n, v, d)}},
        {"tables": {"default": lambda n, v, d: alike_content(n, v, d)}},
        {"tables": {"default": lambda n, v, d: gated(n, v, d)}},
    ],
    ids=["metadata", "hashed", "summed content", "projected", "semantic ids", "content", "both, gated"],
)
@pytest.mark.parametrize("num_items", [29, 66])
def test_items_of_one_description_tie_exactly(describe, chunk, num_items):
    """Also where a matrix product makes their vectors."""
    torch.manual_seed(0)
    task = make_task(schema=Items(num_items), eval_chunk_items=chunk, **describe)
    task.configure_model()
    task.eval()
    with torch.no_grad():
        vectors = task.item_vectors(torch.arange(1, num_items + 1))
        groups = (vectors.unsqueeze(1) - vectors).abs().amax(2) < 1e-5
        assert 1 < len(groups.unique(dim=0)) < num_items
        for number in range(1, 6):
            scores = task.scores(padded([[1 + place] for place in range(number)]))
            for group in groups.unique(dim=0):
                assert len(scores[0, group].unique()) == 1
            assert scores.shape == (number, num_items)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("where", ["items", "queries"])
def test_scores_that_rank_nothing_are_refused(wrong, where):
    values = {"items": torch.full((5, DIM), 1e9), "queries": torch.full((3, DIM), 1e9)}
    values[where][1, 2] = wrong
    with pytest.raises(ValueError, match=r"^[35] of 15 scores are NaN or infinite: training has diverged, or"):
        ItemScores(values["items"], DotProduct())(values["queries"])


def test_large_scores_that_are_finite_are_no_mistake():
    scores = ItemScores(torch.full((5, 1), 1e20), DotProduct())(torch.full((30, 1), 3e18))
    assert scores.isfinite().all()
    assert not scores.sum().isfinite()
