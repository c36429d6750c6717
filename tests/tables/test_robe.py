"""Windows of one array."""

import pytest
import torch
from torch.testing import assert_close

from recsys.tables import Embedding, Feature, RobeTable, TableCollection
from recsys.tables.routing.hashes import bucket, mix64, name_seeds

IDS = torch.arange(500) * 7


def windows(array, identifier, starts, width):
    return torch.cat([array[start : start + width] for start in starts])


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("num_chunks", [1, 3])
def test_every_chunk_is_a_window_of_the_flat_array(aligned, num_chunks):
    embedding = Embedding(RobeTable("f", 5_000, 12, num_rows=9, num_chunks=num_chunks, aligned=aligned))
    width = 12 // num_chunks
    array = embedding.weights[0].detach().flatten()
    places = 9 if aligned else 9 * width - width + 1
    starts = torch.stack([bucket(IDS, seed, places) for seed in name_seeds("f", 2 * num_chunks)[:num_chunks]])
    starts = starts * width if aligned else starts
    expected = [torch.cat([array[start : start + width] for start in own]) for own in starts.t().tolist()]
    assert_close(embedding(IDS), torch.stack(expected))
    if not aligned:
        # Whole rows, the very end of the array, and windows across rows are all among them.
        assert int(starts.max()) == 9 * width - width
        assert len((starts % width).unique()) == width


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("dim", [6, 200])
def test_signs_are_bits_of_a_second_hash(aligned, dim):
    signed, plain = (
        Embedding(RobeTable("f", 5_000, dim, num_rows=9, num_chunks=2, aligned=aligned, signed=each))
        for each in (True, False)
    )
    signs = signed(IDS) / plain(IDS)
    for chunk, seed in enumerate(name_seeds("f", 4)[2:]):
        for value in (0, dim // 2 - 1):
            word = mix64(mix64(IDS, seed), value // 64)
            expected = 2 * ((word >> (value % 64)) & 1) - 1
            assert_close(signs[:, chunk * dim // 2 + value], expected.float())
    assert signs.mean().abs() < 0.1


def test_features_share_the_array_and_their_shares_add_up():
    tables = {name: RobeTable(name, size, 8, budget_fraction=0.1) for name, size in {"a": 1_000, "b": 3_000}.items()}
    collection = TableCollection([Feature(name, name) for name in tables], tables)
    assert {name: matrix.num_rows for name, matrix in collection.lookup.tables.items()} == {"robe": 800}
    first, second = (tables[name].rows_of(IDS[:100]) for name in tables)
    assert not torch.equal(first, second)


def test_gradients_stay_within_the_window():
    embedding = Embedding(RobeTable("f", 5_000, 4, num_rows=30, num_chunks=1))
    identifier = torch.tensor([11])
    start = int(bucket(identifier, name_seeds("f", 2)[0], 29 * 4 + 1))
    embedding(identifier).sum().backward()
    assert embedding.weights[0].grad.flatten().nonzero().flatten().tolist() == list(range(start, start + 4))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="RobeTable 'f': embedding_dim=10 must be a multiple of num_chunks=4"):
        RobeTable("f", 10, 10, num_rows=5, num_chunks=4)
    with pytest.raises(ValueError, match=r"num_rows must be in \[1, 536870912\]"):
        RobeTable("f", 10, 8, num_rows=1 << 30)
    with pytest.raises(ValueError, match="budget that can is 16 bytes"):
        RobeTable("f", 3, 8, budget_fraction=0.1).physical_tables()
