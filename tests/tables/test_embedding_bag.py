"""EmbeddingBag beside nn.EmbeddingBag over the same vectors."""

from functools import partial

import pytest
import torch
from contract import EMBEDDING_DIM, EXAMPLES, make
from torch import nn
from torch.testing import assert_close

from recsys.tables import EmbeddingBag, FullTable, HashTable, QRTable

V = 600
every_example = pytest.mark.parametrize("example", EXAMPLES)
every_mode = pytest.mark.parametrize("mode", ["sum", "mean", "max"])


def pair(example, **options):
    """Ours, and torch's over our vectors."""
    ours = EmbeddingBag(make(example, num_embeddings=V), **options)
    bare = {name: value for name, value in options.items() if name not in ("padding_idx", "include_last_offset")}
    vectors = EmbeddingBag(make(example, num_embeddings=V), **bare).weight.detach().as_subclass(torch.Tensor)
    theirs = nn.EmbeddingBag(V, EMBEDDING_DIM, _weight=vectors.clone(), **options)
    return ours, theirs


@every_example
@every_mode
def test_offsets_with_empty_bags_and_padding(example, mode):
    for last in (False, True):
        ours, theirs = pair(example, mode=mode, padding_idx=-1, include_last_offset=last)
        ids = torch.tensor([3, 3, V - 1, 7, V - 1, 9, 0])
        offsets = torch.tensor([0, 0, 3, 4, 4, 6] + [7] * last)
        assert_close(ours(ids, offsets), theirs(ids, offsets))
        assert_close(ours(ids.int(), offsets.int()), theirs(ids, offsets))
        assert ours(ids, offsets)[0].abs().sum() == 0


@every_example
@every_mode
def test_rectangles(example, mode):
    ours, theirs = pair(example, mode=mode)
    ids = torch.randint(0, V, (5, 4))
    assert_close(ours(ids), theirs(ids))
    assert ours(torch.zeros(0, 4, dtype=torch.long)).shape == (0, EMBEDDING_DIM)


@every_example
def test_weights_and_their_gradients(example):
    ours, theirs = pair(example, mode="sum", padding_idx=2)
    ids = torch.tensor([[1, 2, 3], [5, 5, 2]])
    mine, other = (torch.tensor([[0.5, 9, -1], [2, 3, 4]], requires_grad=True) for _ in range(2))
    pooled = ours(ids, per_sample_weights=mine)
    assert_close(pooled, theirs(ids, per_sample_weights=other))
    pooled.square().sum().backward()
    theirs(ids, per_sample_weights=other).square().sum().backward()
    assert_close(mine.grad, other.grad)


@every_mode
@pytest.mark.parametrize("table_type", [FullTable, partial(HashTable, num_rows=99)])
def test_it_starts_from_given_vectors(mode, table_type):
    vectors = EmbeddingBag(table_type("a", V, 8)).weight.detach().clone().double()
    vectors[5] = 0  # as that of padding
    options = {"mode": mode, "include_last_offset": True, "padding_idx": 5, "sparse": mode != "max"}
    ours, error = EmbeddingBag.from_pretrained(vectors, table_type("a", V, 8), **options)
    theirs = nn.EmbeddingBag.from_pretrained(vectors, **options)
    ids, offsets = torch.tensor([3, 5, 9, 599]), torch.tensor([0, 1, 1, 4])
    assert_close(ours(ids, offsets), theirs(ids, offsets))
    assert error < 1e-6
    assert (ours.mode, ours.padding_idx, ours.dtype) == (mode, 5, torch.float64)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_bag_of_products_is_a_sum_of_products(sparse):
    ours = EmbeddingBag(QRTable("a", V, 8), mode="sum", sparse=sparse)
    ids = torch.tensor([[1, 30, 599]])
    vectors = ours.weight.detach()
    assert_close(ours(ids)[0], vectors[1] + vectors[30] + vectors[599])
    ours(ids).sum().backward()
    assert all(weight.grad.is_sparse is sparse for weight in ours.weights)


def test_of_a_full_table_it_is_torchs_own():
    ours, theirs = EmbeddingBag(FullTable("a", V, 8)), nn.EmbeddingBag(V, 8)
    assert isinstance(ours, nn.EmbeddingBag)
    ours.load_state_dict(theirs.state_dict())
    ids = torch.randint(0, V, (5, 4))
    assert torch.equal(ours(ids), theirs(ids))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_norm": 1.0}, r"max_norm=1.0 is not supported, since rows may be shared by ids; leave max_norm out"),
        ({"scale_grad_by_freq": True}, r"scale_grad_by_freq=True is not supported"),
        ({"mode": "median"}, "mode must be one of sum, mean, max, got 'median'"),
        ({"padding_idx": V}, r"padding_idx must be in \[-600, 599\], got 600"),
    ],
)
@pytest.mark.parametrize("table", [FullTable, QRTable])
def test_what_is_refused(table, options, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingBag(table("a", V, 8), **options)


@every_mode
def test_weights_go_with_sums(mode):
    ours, ids = EmbeddingBag(QRTable("a", V, 8), mode=mode), torch.tensor([[1, 2]])
    if mode == "sum":
        ours(ids, per_sample_weights=torch.ones(1, 2))
        return
    with pytest.raises(NotImplementedError, match="per_sample_weights"):
        ours(ids, per_sample_weights=torch.ones(1, 2))


def test_ids_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"feature 'a': ids must be in \[0, num_embeddings=600\), got 600"):
        EmbeddingBag(FullTable("a", V, 8))(torch.tensor([[600]]))
