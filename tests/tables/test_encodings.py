"""Frequency and codes: what these methods promise, trained and served."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_in_use import collection_of, fit, loss_of_all_ids
from torch.testing import assert_close

from recsys.tables import (
    SGD,
    AdaptiveTable,
    CodebookTable,
    DedupTable,
    DPQTable,
    Embedding,
    FullTable,
    MGQETable,
    QRTable,
    hot_rows,
    served,
)
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
    patterns = torch.randn(20, 8, D)
    vectors = patterns[torch.arange(2_000) % 20] + 0.01 * torch.randn(2_000, 8, D)
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
        (lambda: DPQTable("f", 9, 8, num_parts=3), "embedding_dim=8 must be a multiple of num_parts, got 3"),
        (lambda: DPQTable("f", 9, 8, num_choices=1), r"num_choices must be in \[2"),
        (lambda: DPQTable("f", 9, 8, penalty_weight=-1.0), "penalty_weight must be at least 0, got -1.0"),
        (lambda: MGQETable("f", 9, 8, num_choices=8, num_rare_choices=9), r"in \[2, num_choices=8\], got 9"),
        (
            lambda: CodebookTable("f", 9, 8, num_parts=2, num_choices=3, codes=torch.full((2, 9), 3)),
            r"codes must be in \[0, num_choices=3\), got \[3, 3\]",
        ),
        (
            lambda: CodebookTable("f", 9, 8, num_parts=2, num_choices=3, codes=torch.zeros(9, 2)),
            r"codes must have shape \(2, 9\), got \(9, 2\)",
        ),
    ],
)
def test_a_mistake_is_named_with_its_value(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def nearest(rows, centroids, num_open):
    """The centroids [P, C, d] nearest to the pieces of rows [N, D], of each id's first num_open [N], one by one."""
    vectors, codes = torch.zeros_like(rows), []
    width = centroids.shape[2]
    for part, book in enumerate(centroids):
        pieces = rows[:, part * width : (part + 1) * width]
        distances = (pieces.unsqueeze(1) - book).square().sum(-1)
        for number, limit in enumerate(num_open):
            distances[number, limit:] = float("inf")
        codes.append(distances.argmin(1))
        vectors[:, part * width : (part + 1) * width] = book[codes[-1]]
    return vectors, torch.stack(codes)


@pytest.mark.parametrize(
    ("table", "num_open"),
    [
        (DPQTable("f", V, D, num_choices=20), [20] * V),
        (MGQETable("f", V, D, num_choices=300, num_rare_choices=7, num_frequent=30), [300] * 30 + [7] * (V - 30)),
    ],
)
def test_vectors_are_the_nearest_centroids_and_are_served_as_codes(table, num_open):
    collection = collection_of(table)
    rows = collection.lookup.weight("f")
    expected, codes = nearest(rows.double(), table.centroids.detach().double(), num_open)
    ids = torch.arange(V)
    assert_close(collection(ids.unsqueeze(0))[:, 0], expected.float())
    narrow, matrices = table.served(collection.lookup)
    assert isinstance(narrow, CodebookTable)
    assert torch.equal(narrow.codes.long(), codes)
    stored = narrow.own_bytes() + narrow.physical_tables()[0].num_bytes()
    assert stored == table.served_bytes() == codes.numel() * (1 + (max(num_open) > 256)) + matrices["f"].numel() * 4


@pytest.mark.parametrize("kind", [DPQTable, MGQETable])
def test_the_penalty_pulls_rows_and_centroids_together(kind):
    table = kind("f", V, D, num_choices=20, num_rare_choices=9) if kind is MGQETable else kind("f", V, D)
    rows = torch.randn(V, 1, D, requires_grad=True)
    parameters = {"centroids": table.centroids.unsqueeze(0)}
    vectors = table.combine(rows, parameters, torch.arange(V).unsqueeze(1), table._own_constants(0))
    table.penalty(rows, vectors, parameters).sum().backward()
    assert_close(rows.grad, 2 * 0.25 * (rows - vectors).detach())
    moved = table.centroids.detach() - 1e-3 * table.centroids.grad / table.centroids.grad.norm()
    again = table.combine(rows, {"centroids": moved.unsqueeze(0)}, torch.arange(V)[:, None], table._own_constants(0))
    assert (again - rows).square().sum() < (vectors - rows).square().sum()
    empty = table.penalty(rows[:0], vectors[:0], parameters)
    assert empty.shape == (0, 1)


def test_a_collection_is_served_whole_with_equal_vectors():
    tables = [DPQTable("d", V, D), MGQETable("m", V, D), FullTable("full", V, D), QRTable("qr", V, D)]
    collection = collection_of(*tables, optimizer=SGD(0.5))
    loss_of_all_ids(collection, torch.randn(V, 4, D)).backward()
    collection.step()
    narrow = served(collection)
    ids = torch.arange(V).expand(4, -1)
    assert_close(narrow(ids), collection.eval()(ids), rtol=0, atol=1e-6)
    assert [type(narrow.table(name)).__name__ for name in "dm"] == ["CodebookTable"] * 2
    before = narrow(ids)
    loss_of_all_ids(collection.train(), torch.randn(V, 4, D)).backward()
    collection.step()
    assert torch.equal(narrow(ids), before)
    assert not list(narrow.parameters())


@pytest.mark.parametrize(
    "table",
    [
        AdaptiveTable("f", V, D, num_rows=V),
        DPQTable("f", V, D, num_parts=4, num_choices=64),
        MGQETable("f", V, D, num_choices=256, num_rare_choices=64),
    ],
    ids=lambda table: type(table).__name__,
)
def test_it_trains(table):
    _, first, last = fit(FullTable("f", V, D))
    _, first_here, last_here = fit(table)
    print(type(table).__name__, first, last, first_here, last_here)
    assert last_here < first_here - 0.6 * (first - last)


def test_served_codes_may_be_read_by_an_embedding():
    embedding = Embedding(DPQTable("f", V, D))
    narrow, matrices = embedding.table.served(embedding)
    again = Embedding(narrow)
    with torch.no_grad():
        again.weights[0].copy_(matrices["f"])
    assert_close(again(torch.arange(V)), embedding(torch.arange(V)))


def test_the_summary_and_the_portrait_tell_served_bytes_from_trained_ones():
    from recsys.description.portrait import portray
    from recsys.tasks.summary import render, table_rows

    tables = [DPQTable("d", V, D, num_choices=16), FullTable("full", V, D)]
    collection = collection_of(*tables)
    narrow, wide = table_rows(collection)
    assert (narrow.stored_bytes, narrow.served_bytes) == (4 * D * (V + 16), 4 * V + 4 * D * 16)
    assert wide.stored_bytes == wide.served_bytes
    assert "when served" in render(collection).caption
    assert "served" in [column.header for column in render(collection, full=True).columns]
    assert "served" not in render(collection_of(tables[1]), full=True).caption
    assert portray(collection, "d").serving_bytes == narrow.served_bytes
