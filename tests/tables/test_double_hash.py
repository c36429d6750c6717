"""Frequent ids have rows of their own, others add up two."""

import pytest
import torch
from torch.testing import assert_close

from recsys.tables import DoubleHashTable, Embedding
from recsys.tables.routing.hashes import bucket, name_seeds


def test_by_hand():
    embedding = Embedding(DoubleHashTable("f", 1_000, 8, num_rows=70, num_frequent=30))
    owned, shared = embedding.weights
    assert owned.shape, shared.shape == ((30, 8), (40, 8))
    assert_close(embedding(torch.arange(30)), owned)
    ids = torch.arange(30, 1_000)
    first, second = (bucket(ids, seed, 40) for seed in name_seeds("f", 2))
    assert_close(embedding(ids), shared[first] + shared[second])


def test_frequent_and_other_ids_start_with_the_same_deviation():
    vectors = Embedding(DoubleHashTable("f", 100_000, 16, num_rows=20_000, init_std=0.02))(torch.arange(30_000))
    assert vectors[:10_000].std().item() == pytest.approx(0.02, rel=0.03)
    assert vectors[10_000:].std().item() == pytest.approx(0.02, rel=0.03)


def test_frequent_ids_are_read_and_trained_alone():
    embedding = Embedding(DoubleHashTable("f", 1_000, 8, num_rows=70, num_frequent=30))
    embedding(torch.tensor([3, 7])).sum().backward()
    owned, shared = embedding.weights
    assert owned.grad.any(1).nonzero().flatten().tolist() == [3, 7]
    assert not shared.grad.any()


@pytest.mark.parametrize(("num_embeddings", "num_rows"), [(1, 1), (50, 50), (50, 800)])
def test_with_a_row_for_each_id_all_are_owned(num_embeddings, num_rows):
    table = DoubleHashTable("f", num_embeddings, 8, num_rows=num_rows)
    assert [(matrix.num_rows, matrix.init_std) for matrix in table.physical_tables()] == [
        (num_embeddings, table.init_std)
    ]
    assert table.rows_of(torch.arange(num_embeddings)).tolist() == [list(range(num_embeddings))]
    assert table.expected_collisions() == 0


def test_collisions_are_those_of_ids_that_share():
    table = DoubleHashTable("f", 1_030, 8, num_rows=70, num_frequent=30)
    assert round(table.expected_collisions()) == 425


def test_rows_must_remain_for_the_other_ids():
    with pytest.raises(ValueError, match="num_rows must be at least 31, got 30"):
        DoubleHashTable("f", 1_000, 8, num_rows=30, num_frequent=30)
    with pytest.raises(ValueError, match="smallest budget that can is 992 bytes"):
        DoubleHashTable("f", 1_000, 8, budget_bytes=991, num_frequent=30)
