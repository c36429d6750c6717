"""Codes and centroids: what DPQTable, MGQETable and the CodebookTable they are served as promise."""

import pytest
import torch
from tables_in_use import collection_of, fit, loss_of_all_ids
from torch.testing import assert_close

from recsys.tables import SGD, CodebookTable, DPQTable, Embedding, FullTable, MGQETable, QRTable, served

V, D = 400, 8


@pytest.mark.parametrize(
    ("build", "message"),
    [
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
    assert torch.equal(narrow.listed("codes").long(), codes)
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
        DPQTable("f", V, D, num_parts=4, num_choices=64),
        MGQETable("f", V, D, num_choices=256, num_rare_choices=64),
    ],
    ids=lambda table: type(table).__name__,
)
def test_it_trains(table):
    _, first, last = fit(FullTable("f", V, D))
    _, first_here, last_here = fit(table)
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
