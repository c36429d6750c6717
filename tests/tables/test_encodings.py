"""Rows by frequency, and blocks of equal ids: what these methods promise."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_in_use import fit
from torch.testing import assert_close

from recsys.tables import AdaptiveTable, DedupTable, FullTable, hot_rows
from recsys.tables.routing.hashes import bucket, name_seed

V, D = 400, 8


def test_frequent_ids_have_rows_of_their_own_and_the_rest_share():
    table = AdaptiveTable("f", 1_000, D, num_rows=100, hot_fraction=0.3)
    rows = table.rows_of(torch.arange(1_000))[0]
    assert rows[:30].tolist() == list(range(30))
    assert torch.equal(rows[30:], 30 + bucket(torch.arange(30, 1_000), name_seed("f"), 70))
    assert table.expected_collisions() == pytest.approx(970 - 70, abs=0.1)


def test_counts_say_which_ids_are_frequent():
    counts = torch.zeros(1_000, dtype=torch.int64)
    counts[[7, 900, 3]] = torch.tensor([5, 50, 5])
    table = AdaptiveTable("f", 1_000, D, num_rows=43, rows=hot_rows(counts, 3))
    assert table.rows_of(torch.tensor([900, 3, 7]))[0].tolist() == [0, 1, 2]
    others = table.rows_of(torch.tensor([0, 8, 999]))[0]
    assert torch.equal(others, 3 + bucket(torch.tensor([0, 8, 999]), name_seed("f"), 40))
    assert table.own_bytes() == 4_000


@given(num_embeddings=st.integers(1, 3_000), num_rows=st.integers(1, 4_000), hot=st.floats(0.01, 0.99))
@settings(deadline=None)
def test_hot_ids_never_share(num_embeddings, num_rows, hot):
    table = AdaptiveTable("f", num_embeddings, 4, num_rows=num_rows, hot_fraction=hot)
    rows = table.rows_of(torch.arange(num_embeddings))[0]
    assert rows.max() < table.physical_tables()[0].num_rows <= num_embeddings
    assert len(rows[: table.num_hot].unique()) == table.num_hot
    assert not set(rows[: table.num_hot].tolist()) & set(rows[table.num_hot :].tolist())
    if num_rows >= num_embeddings:
        assert table.num_hot == num_embeddings


def test_a_budget_with_a_mapping_counts_it():
    rows = hot_rows(torch.arange(1_000), 20)
    table = AdaptiveTable("f", 1_000, D, budget_bytes=6_000, rows=rows)
    assert 4_000 + table.num_rows * 4 * D <= 6_000 < 4_000 + (table.num_rows + 1) * 4 * D
    with pytest.raises(ValueError, match="the smallest budget that can is 4672 bytes"):
        AdaptiveTable("f", 1_000, D, budget_bytes=4_500, rows=rows)


def test_a_block_of_ids_reads_a_block_of_rows():
    table = DedupTable("f", 100, D, blocks=torch.tensor([0, 1, 0, 2, 1, 0, 3, 3, 2, 1, 0, 1, 4]), block_size=8)
    rows = table.rows_of(torch.arange(100))[0]
    assert rows[8 * 4 + 5] == 8 * 1 + 5
    assert table.num_rows == 36 == rows.max() + 1
    assert table.own_bytes() == 13 * 4
    hashed = DedupTable("f", 100, D, num_rows=30, block_size=8)
    rows = hashed.rows_of(torch.arange(100))[0]
    assert hashed.num_rows == 24
    assert torch.equal(rows, bucket(torch.arange(100) // 8, name_seed("f"), 3) * 8 + torch.arange(100) % 8)


@given(
    num_patterns=st.integers(1, 5),
    num_embeddings=st.integers(1, 300),
    block_size=st.integers(1, 7),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=50)
def test_equal_blocks_are_merged_and_none_moves_too_far(num_patterns, num_embeddings, block_size, seed):
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(num_patterns, block_size, D, generator=generator)
    num_blocks = -(-num_embeddings // block_size)
    chosen = torch.randint(0, num_patterns, (num_blocks,), generator=generator)
    vectors = patterns[chosen].reshape(-1, D)[:num_embeddings]
    table, values = DedupTable.of_vectors("f", vectors, block_size=block_size, tolerance=0.0)
    assert_close(values["f"][table.rows_of(torch.arange(num_embeddings))[0]], vectors, rtol=0, atol=0)
    whole = chosen[: num_embeddings // block_size]
    short = num_embeddings % block_size
    assert table.num_rows == len(whole.unique()) * block_size + short
    noisy = vectors + 0.02 * torch.randn(vectors.shape, generator=generator)
    table, values = DedupTable.of_vectors("f", noisy, block_size=block_size, tolerance=0.1)
    moved = values["f"][table.rows_of(torch.arange(num_embeddings))[0]] - noisy
    blocks = moved[: len(whole) * block_size].view(len(whole), block_size * D)
    assert (blocks.square().mean(1).sqrt() <= 0.1 * noisy.std(correction=0) * (1 + 1e-5)).all()
    assert torch.equal(moved[len(whole) * block_size :], torch.zeros(short, D))


def test_nearly_equal_blocks_are_found_among_many():
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(20, 8, D, generator=generator)
    vectors = patterns[torch.arange(2_000) % 20] + 0.01 * torch.randn(2_000, 8, D, generator=generator)
    table, _ = DedupTable.of_vectors("f", vectors.view(-1, D), tolerance=0.05)
    assert table.num_rows <= 8 * 50


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AdaptiveTable("f", 9, 4, num_rows=3, hot_fraction=1.0), r"hot_fraction must be in \(0, 1\), got 1.0"),
        (lambda: AdaptiveTable("f", 3, 4, num_rows=3, rows=torch.tensor([0, 0, -1])), "without gaps, each once"),
        (lambda: AdaptiveTable("f", 3, 4, num_rows=2, rows=torch.tensor([0, 1, -1])), "num_rows must be in"),
        (lambda: hot_rows(torch.ones(3), 4), r"num_hot must be in \[1, len\(counts\)=3\], got 4"),
        (lambda: DedupTable("f", 9, 4, blocks=torch.tensor([0, 2]), block_size=5), "from 0 without gaps"),
        (
            lambda: DedupTable("f", 9, 4, blocks=torch.zeros(3), block_size=5),
            r"must be 2 numbers, one for each 5 of num_embeddings=9 ids, got \[3\]",
        ),
        (lambda: DedupTable("f", 9, 4, num_rows=4, block_size=5), r"num_rows must be in \[5"),
        (lambda: DedupTable("f", 99, 4, budget_bytes=99, block_size=8), "budget that can is 128 bytes"),
        (lambda: DedupTable.of_vectors("f", torch.ones(9, 4), tolerance=-1.0), "tolerance must be at least 0"),
    ],
)
def test_a_mistake_is_named_with_its_value(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_hot_rows_and_shared_ones_train():
    _, first, last = fit(FullTable("f", V, D))
    _, first_here, last_here = fit(AdaptiveTable("f", V, D, num_rows=V))
    assert last_here < first_here - 0.6 * (first - last)
