"""A row of the first partition through the network of the second."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.tables import Embedding, PathQRTable


def test_by_hand():
    embedding = Embedding(PathQRTable("f", 1_000, 6, num_rows=60, hidden_dim=5))
    with torch.no_grad():
        for weight in embedding.weights:
            weight.normal_()
    rows, into, out, biases = embedding.weights
    path = 777 // 60
    hidden = torch.relu(rows[777 % 60] @ into[path].view(6, 5) + biases[path][:5])
    assert_close(embedding(torch.tensor([777]))[0], hidden @ out[path].view(5, 6) + biases[path][5:])


def test_every_id_has_a_pair_of_its_own():
    table = PathQRTable("f", 1_003, 6, num_rows=60)
    assert table.rows_of(torch.arange(1_003))[:2].unique(dim=1).shape[1] == 1_003
    assert [matrix.num_rows for matrix in table.physical_tables()] == [60, 17, 17, 17]


def bytes_of(num_embeddings, dim, hidden, rows):
    paths = -(-num_embeddings // rows)
    return 4 * (rows * dim + paths * (2 * dim * hidden + hidden + dim))


@given(num_embeddings=st.integers(1, 3_000), budget_bytes=st.integers(1, 100_000), hidden=st.integers(1, 8))
@settings(deadline=None, max_examples=60)
def test_the_smallest_budget_is_that_of_all_sizes(num_embeddings, budget_bytes, hidden):
    fewest = -(-num_embeddings // 1024)
    smallest = min(bytes_of(num_embeddings, 4, hidden, rows) for rows in range(fewest, num_embeddings + 1))
    if budget_bytes < smallest:
        with pytest.raises(ValueError, match=f"smallest budget that can is {smallest} bytes"):
            PathQRTable("f", num_embeddings, 4, budget_bytes=budget_bytes, hidden_dim=hidden)
    else:
        table = PathQRTable("f", num_embeddings, 4, budget_bytes=budget_bytes, hidden_dim=hidden)
        assert sum(matrix.num_bytes() for matrix in table.physical_tables()) <= budget_bytes


def test_the_bank_is_bounded():
    with pytest.raises(ValueError, match=r"num_rows must be in \[98, num_embeddings=100000\], got 97"):
        PathQRTable("f", 100_000, 8, num_rows=97)
