"""Embeddings that start from given vectors, and that grow."""

import pytest
import torch
from contract import EMBEDDING_DIM, EXAMPLES, make
from torch import nn
from torch.testing import assert_close

from recsys.tables import (
    DeepHashTable,
    Embedding,
    EmbeddingBag,
    FullTable,
    HashEmbeddingTable,
    HashTable,
    MixedDimTable,
    MixedRadix,
    PrunedTable,
    QRConcatTable,
    QRSumTable,
    QRTable,
    UnifiedTable,
)

V, D = 60, 8
every_example = pytest.mark.parametrize("example", EXAMPLES)


CANNOT_START = {"deep-hash", "gate-of-networks"}
"""Whose vectors come from networks of hashes: no closed form finds their weights."""

CANNOT_GROW = {"autosrh"}
"""Whose groups of ids are shares of all."""

NEAR = {"hash-embedding": 0.6, "path-qr": 1.0, "alpt": 0.05, "cafe": 0.2, "managed": 0.2, "compact-int4": 0.08}
"""How far examples may be from vectors that they could hold, where it is not nothing: they search or take turns, hold
rounded values, or give rows to ids that they have seen, which at first are none or few."""


def relative(weight, embedding):
    return ((weight - embedding.weight).norm() / weight.norm()).item()


@every_example
def test_vectors_that_a_table_can_hold_are_found(example):
    """What a table of the same method computes has no error; other vectors none larger than zeros have."""
    if example in CANNOT_START:
        with pytest.raises(ValueError, match="no way to start it from given vectors"):
            Embedding.from_pretrained(torch.randn(500, EMBEDDING_DIM), make(example, num_embeddings=500))
        return
    weight = torch.cat(list(Embedding(make(example, num_embeddings=500)).eval().all_vectors()))
    if not example.startswith("content"):  # whose rows, drawn by this seed, are given and not fitted
        torch.manual_seed(5)
    found = Embedding.from_pretrained(weight, make(example, num_embeddings=500))
    assert found.error == pytest.approx(relative(weight, found.embedding.eval()), abs=1e-6)
    assert found.error < next((far for prefix, far in NEAR.items() if example.startswith(prefix)), 0.02)
    noise = torch.randn(500, EMBEDDING_DIM)
    assert Embedding.from_pretrained(noise, make(example, num_embeddings=500)).error < 1


def test_a_full_table_is_exact():
    weight = nn.Embedding(V, D, dtype=torch.float64).weight.detach()
    embedding, error = Embedding.from_pretrained(weight, FullTable("a", V, D), padding_idx=3)
    assert error == 0
    assert embedding.dtype == torch.float64
    assert torch.equal(embedding.weight, weight)
    assert torch.equal(embedding(torch.tensor([3]))[0], weight[3])


def incidence(table):
    """The dense matrix of a table that adds rows."""
    matrix = torch.zeros(V, table.physical_tables()[0].num_rows, dtype=torch.float64)
    for rows in table.rows_of(torch.arange(V)):
        matrix[torch.arange(V), rows] += 1
    return matrix


def test_sums_are_the_least_squares_solution():
    table, weight = HashTable("a", V, D, num_rows=20, num_lookups=3), torch.randn(V, D)
    _, error = Embedding.from_pretrained(weight, table)
    matrix = incidence(table)
    best = matrix @ torch.linalg.lstsq(matrix, weight.double(), driver="gelsd").solution
    assert error == pytest.approx(((weight - best).norm() / weight.norm()).item(), rel=1e-5)


def test_hashing_takes_means():
    table, weight = HashTable("a", V, D, num_rows=20), torch.randn(V, D)
    embedding, _ = Embedding.from_pretrained(weight, table)
    rows = table.rows_of(torch.arange(V))[0]
    for row in rows.unique():
        assert_close(embedding.weights[0][row].detach(), weight[rows == row].mean(0))


@pytest.mark.parametrize("seed", range(4))
def test_rounding_is_not_taken_for_something_to_fit(seed):
    """The mean of many vectors is found in one step; what is left of its gradient is rounding."""
    weight = torch.randn(500, 8, generator=torch.Generator().manual_seed(seed)).bfloat16()
    embedding, error = Embedding.from_pretrained(weight, HashTable("f", 500, 8, num_rows=1), padding_idx=0)
    assert error < 1
    assert_close(embedding.vectors(torch.tensor(3)).float(), weight[1:].float().mean(0), rtol=0.01, atol=1e-4)


def test_mixed_dimensions_are_the_singular_vectors():
    weight = torch.randn(V, D)
    _, error = Embedding.from_pretrained(weight, MixedDimTable("a", V, D, row_dim=3))
    values = torch.linalg.svdvals(weight)
    assert error == pytest.approx((values[3:].square().sum().sqrt() / values.norm()).item(), rel=1e-4)


def test_products_are_rank_one_in_every_column():
    weight = torch.randn(V, D) + 0.5
    _, error = Embedding.from_pretrained(weight, QRTable("a", V, D, num_remainders=10))
    columns = weight.view(6, 10, D).permute(2, 0, 1)
    left = torch.linalg.svdvals(columns)[:, 1:].square().sum()
    assert error == pytest.approx((left.sqrt() / weight.norm()).item(), rel=1e-3)


def test_importance_weights_help():
    weight = torch.randn(V, D)
    kinds = {"num_rows": 20, "num_lookups": 2}
    _, plain = Embedding.from_pretrained(weight, HashTable("a", V, D, **kinds))
    _, weighted = Embedding.from_pretrained(weight, HashEmbeddingTable("a", V, D, **kinds))
    assert weighted < plain


def test_padding_is_left_out():
    weight = torch.randn(V, D)
    weight[7] = 0
    table = HashTable("a", V, D, num_rows=1)
    embedding, _ = Embedding.from_pretrained(weight, table, padding_idx=7)
    others = torch.arange(V) != 7
    assert_close(embedding.weights[0][0].detach(), weight[others].mean(0))


@pytest.mark.parametrize(
    ("weight", "table", "message"),
    [
        (torch.zeros(V, D + 1), QRTable, r"weight must be finite numbers of shape \[60, 8\], got \[60, 9\]"),
        (torch.full((V, D), torch.nan), FullTable, "got numbers that are not finite"),
        (torch.zeros(V, D), lambda *sizes: DeepHashTable(*sizes, hidden_dim=4), "no way to start it from given"),
    ],
)
def test_what_cannot_be_started_from(weight, table, message):
    with pytest.raises(ValueError, match=message):
        Embedding.from_pretrained(weight, table("a", V, D))


@pytest.mark.parametrize("kind", [Embedding, EmbeddingBag])
@pytest.mark.parametrize("weight", [[[1.0]], torch.zeros(V, D, dtype=torch.int64)], ids=["list", "integers"])
def test_vectors_are_a_tensor_of_floats(kind, weight):
    with pytest.raises(
        ValueError, match=r"QRTable 'a': weight must be a Tensor of floating-point numbers, got (list|torch\.int64)"
    ):
        kind.from_pretrained(weight, QRTable("a", V, D))


@every_example
def test_grown_the_old_ids_keep_their_vectors(example):
    embedding = Embedding(make(example, num_embeddings=1_000), padding_idx=4).eval()
    if example in CANNOT_GROW:
        with pytest.raises(ValueError, match="cannot grow to num_embeddings=3000: its groups are equal parts"):
            embedding.grow(3_000)
        return
    with torch.no_grad():
        for parameter in embedding.parameters():
            if parameter.dtype.is_floating_point and parameter.requires_grad:
                parameter.add_(0.1)
    ids = torch.arange(1_000)
    if example in ("qr-coprime", "qr-sum"):
        most = int(embedding.table.get_buffer("modulus").prod())
        assert torch.equal(embedding.grow(most)(ids), embedding(ids))
        with pytest.raises(ValueError, match="cannot grow to num_embeddings=3000: remainders by"):
            embedding.grow(3_000)
        return
    grown = embedding.grow(3_000)
    assert grown.num_embeddings == 3_000
    assert torch.equal(grown(ids), embedding(ids))
    assert embedding.num_embeddings == 1_000
    more = grown(torch.arange(1_000, 3_000))
    assert more.isfinite().all()
    assert not more.requires_grad or more.sum().backward() is None
    for mine, theirs in zip(embedding.weights, grown.weights, strict=True):
        assert (mine is theirs) == (mine.shape == theirs.shape)
    again = grown.grow(3_500)
    assert torch.equal(again(ids), embedding(ids))
    with pytest.raises(ValueError, match="num_embeddings must be at least 1000, got 999"):
        embedding.grow(999)


def test_a_grown_table_keeps_its_kind():
    for table in (
        QRTable("a", V, D, num_remainders=7),
        QRSumTable("a", V, D, partition=MixedRadix(3)),
        QRConcatTable("a", V, D),
        PrunedTable("a", V, D, rows=torch.arange(V) % 7 - 1),
        UnifiedTable("a", V, D, budget_fraction=0.5),
    ):
        embedding = Embedding(table)
        assert torch.equal(embedding.grow(500)(torch.arange(V)), embedding(torch.arange(V)))


def test_all_vectors_come_in_chunks():
    embedding = Embedding(QRTable("a", V, D))
    chunks = list(embedding.all_vectors(25))
    assert [len(chunk) for chunk in chunks] == [25, 25, 10]
    assert torch.equal(torch.cat(chunks), embedding.weight)
    assert not chunks[0].requires_grad
    assert torch.equal(embedding.vectors(torch.tensor([[3]])), embedding(torch.tensor([[3]])))
