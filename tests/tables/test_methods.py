"""What each method's own mathematics promises."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.tables import (
    CCETable,
    Coprime,
    DoubleHashTable,
    Embedding,
    FullTable,
    HashTable,
    ManagedCollisionTable,
    MixedDimTable,
    MixedRadix,
    MurmurTable,
    PathQRTable,
    QRConcatTable,
    QRSumTable,
    QRTable,
    RobeTable,
    TTTable,
    UnifiedTable,
    power_law_dims,
    power_law_dims_for_budget,
)
from recsys.tables.mixed_dim import mixed_dim_bytes
from recsys.tables.routing.hashes import bucket, name_seed

CRITEO_ROWS = [
    *(1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194),
    *(27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572),
]


def codes(table, identifier):
    constants = {name: value.unsqueeze(-1) for name, value in table.constants().items()}
    return table.route(torch.tensor([[identifier]]), constants).flatten().tolist()


@given(num_embeddings=st.integers(1, 400), num_partitions=st.integers(1, 4), coprime=st.booleans())
@settings(deadline=None)
def test_partitions_tell_every_id_from_every_other(num_embeddings, num_partitions, coprime):
    partition = (Coprime if coprime else MixedRadix)(num_partitions)
    table = QRSumTable("f", num_embeddings, 4, partition=partition)
    found = {tuple(codes(table, identifier)) for identifier in range(num_embeddings)}
    assert len(found) == num_embeddings


def test_quotient_and_remainder_golden():
    assert codes(QRTable("f", 10_000, 4, partition=MixedRadix(3)), 9_999) == [11, 14, 20]
    assert codes(QRTable("f", 40_000_000, 4, num_remainders=10_000_000), 39_999_999) == [9_999_999, 3]


@pytest.mark.parametrize(
    ("table_type", "put_together"),
    [(QRTable, lambda q, r: q * r), (QRSumTable, lambda q, r: q + r), (QRConcatTable, lambda q, r: torch.cat([q, r]))],
)
def test_qr_by_hand(table_type, put_together):
    embedding = Embedding(table_type("f", 1_000, 8, num_remainders=60))
    remainders, quotients = embedding.weights
    assert_close(embedding(torch.tensor([777]))[0], put_together(remainders[777 % 60], quotients[777 // 60]))


def test_hash_sum_by_hand():
    embedding = Embedding(HashTable("f", 1_000, 8, num_rows=50, num_lookups=2))
    rows = [bucket(torch.tensor([123]), name_seed("f", probe), 50) for probe in (0, 1)]
    assert_close(embedding(torch.tensor([123])), sum(embedding.weights[0][row] for row in rows))


def test_unified_features_share_rows_but_hash_apart():
    ids = torch.arange(5_000)
    first, second = (UnifiedTable(name, 5_000, 8, num_rows=1_000) for name in ("a", "b"))
    assert first.physical_tables() == second.physical_tables()
    assert not torch.equal(*(bucket(ids, t.constants()["seed"][0], 1_000) for t in (first, second)))


def test_unified_by_hand():
    embedding = Embedding(UnifiedTable("f", 1_000, 9, num_rows=50, num_lookups=3))
    rows = [bucket(torch.tensor([123]), name_seed("f", probe), 50) for probe in range(3)]
    assert_close(embedding(torch.tensor([123]))[0], torch.cat([embedding.weights[0][row][0] for row in rows]))


def test_mixed_dim_by_hand_and_full_at_full_width():
    embedding = Embedding(MixedDimTable("f", 100, 8, row_dim=4))
    assert_close(embedding(torch.tensor([5]))[0], embedding.weights[0][5] @ embedding.table.projection)
    wide, full = MixedDimTable("f", 100, 8, row_dim=8), FullTable("f", 100, 8)
    assert_close(Embedding(wide)(torch.arange(9)), Embedding(full)(torch.arange(9)))
    assert not list(wide.parameters())


def test_power_law_golden_on_criteo():
    narrow = [2, 4, 1, 1, 4, 8, 1, 4, 16, 1, 2, 1, 2, 8, 1, 1, 8, 2, 2, 16, 1, 8, 8, 1, 4, 1]
    wide = [8, 16, 1, 1, 16, 32, 4, 16, 64, 4, 8, 1, 8, 32, 4, 1, 32, 8, 8, 64, 1, 32, 32, 2, 16, 2]
    assert power_law_dims(CRITEO_ROWS, 16, alpha=0.3, multiple_of=1) == narrow
    assert power_law_dims(CRITEO_ROWS, 64, alpha=0.3, multiple_of=1) == wide


@given(
    sizes=st.lists(st.integers(1, 10**7), min_size=1, max_size=8),
    fraction=st.floats(0.02, 1),
    alpha=st.floats(0, 1),
)
def test_power_law_never_exceeds_the_budget(sizes, fraction, alpha):
    budget = int(fraction * 4 * 32 * sum(sizes))
    narrowest = sum(min(mixed_dim_bytes([size], [4], 32), mixed_dim_bytes([size], [32], 32)) for size in sizes)
    if narrowest > budget:
        with pytest.raises(ValueError, match=f"smallest budget that can is {narrowest} bytes"):
            power_law_dims_for_budget(sizes, 32, budget, alpha=alpha)
    else:
        dims = power_law_dims_for_budget(sizes, 32, budget, alpha=alpha)
        assert mixed_dim_bytes(sizes, dims, 32) <= budget


def bytes_of(table):
    matrices = {physical.name: physical for physical in table.physical_tables()}
    return sum(matrix.num_bytes() for matrix in matrices.values()) + table.own_bytes()


@given(
    table_type=st.sampled_from(
        [
            *(HashTable, QRTable, QRSumTable, QRConcatTable, MixedDimTable, UnifiedTable, ManagedCollisionTable),
            *(CCETable, DoubleHashTable, MurmurTable, PathQRTable, RobeTable, TTTable),
        ]
    ),
    num_embeddings=st.integers(1, 10**6),
    budget_bytes=st.integers(1, 10**6),
)
@settings(deadline=None, max_examples=200)
def test_a_byte_budget_is_kept_or_refused_with_the_smallest_that_can_be(table_type, num_embeddings, budget_bytes):
    try:
        table = table_type("f", num_embeddings, 8, budget_bytes=budget_bytes)
    except ValueError as error:
        smallest = int(str(error).split("the smallest budget that can is ")[1].split(" ")[0])
        assert smallest > budget_bytes
        assert bytes_of(table_type("f", num_embeddings, 8, budget_bytes=smallest)) <= smallest
    else:
        assert bytes_of(table) <= budget_bytes


def test_more_budget_never_buys_fewer_rows():
    rows = [HashTable("f", 10_000, 8, budget_fraction=fraction).num_rows for fraction in (0.01, 0.1, 0.5, 1.0)]
    assert rows == [100, 1_000, 5_000, 10_000]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: QRTable("C3", 1_000, 8, num_remainders=2_048),
            r"num_remainders must be in \[1, num_embeddings=1000\]",
        ),
        (
            lambda: QRTable("C3", 1_000, 8, num_remainders=2, budget_bytes=9),
            "give one of num_remainders or budget_bytes",
        ),
        (lambda: QRConcatTable("C3", 1_000, 2, partition=MixedRadix(3)), "embedding_dim must be at least 3, got 2"),
        (lambda: HashTable("C3", 1_000, 8), "exactly one of num_rows or budget_bytes or budget_fraction, got none"),
        (lambda: HashTable("C3", 1_000, 8, num_rows=0), "num_rows must be in"),
        (lambda: HashTable("C3", 1_000, 8, budget_fraction=1.5), r"budget_fraction must be in \(0, 1\]"),
        (lambda: UnifiedTable("C3", 10, 8, num_rows=9, num_lookups=3), "must be a multiple of num_lookups=3"),
        (lambda: UnifiedTable("C3", 10, 8), "one of num_rows or budget_bytes or budget_fraction, got none"),
        (lambda: UnifiedTable("C3", 3, 8, budget_fraction=0.1).physical_tables(), "budget that can is 16 bytes"),
        (lambda: MixedDimTable("C3", 10, 8, row_dim=9), r"row_dim must be in \[1, embedding_dim=8\], got 9"),
        (lambda: FullTable("C3", 0, 8), "num_embeddings must be at least 1, got 0"),
        (lambda: FullTable("C.3", 1, 8), "without '.'"),
        (lambda: FullTable("C3", 1, 8.0), "FullTable 'C3': embedding_dim must be int, got 8.0"),
        (lambda: MixedRadix(0), r"num_partitions must be in \[1, 64\], got 0"),
        (lambda: power_law_dims([1], 8, alpha=2), r"alpha must be in \[0, 1\], got 2"),
    ],
)
def test_a_mistake_is_named_with_its_value(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_product_variance_matches_the_target():
    rows = QRTable("f", 10_000, 8, partition=MixedRadix(4), init_std=0.01).physical_tables()
    assert math.prod(physical.init_std for physical in rows) == pytest.approx(0.01)
