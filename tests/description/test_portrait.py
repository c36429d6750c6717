"""Portraits against numbers counted one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recsys.description import effective_rank, portray
from recsys.description.optimizer_state import DenseModel, read_state_bytes, table_state_bytes
from recsys.description.report import DescriptionReport
from recsys.description.shared import shared_notes
from recsys.description.vectors import vectors_of
from recsys.tables import (
    DenseGradient,
    FbgemmLookup,
    Feature,
    FullTable,
    HashTable,
    MixedDimTable,
    QRTable,
    TableCollection,
    TorchLookup,
    UnifiedTable,
)

V, D = 300, 8
TABLES = {
    "full": FullTable("full", V, D),
    "hash": HashTable("hash", V, D, num_rows=40),
    "unified": UnifiedTable("unified", V, D, num_rows=60, num_lookups=2),
    "qr": QRTable("qr", V, D),
    "mixed": MixedDimTable("mixed", V, D, alpha=0.3),
}


@pytest.fixture(params=[TorchLookup, FbgemmLookup])
def collection(request):
    torch.manual_seed(0)
    return TableCollection([Feature(name, name) for name in TABLES], TABLES, lookup=request.param)


def test_vectors_are_those_of_the_collection(collection):
    ids = torch.arange(V)
    embedded = collection(ids.expand(len(TABLES), V))
    for place, name in enumerate(TABLES):
        torch.testing.assert_close(vectors_of(collection, name, ids), embedded[:, place].detach())


@pytest.mark.parametrize("name", TABLES)
def test_collisions_and_unused_rows_are_counted(collection, name):
    counts = np.random.default_rng(0).integers(0, 3, V)
    found = portray(collection, name, counts)
    seen = np.flatnonzero(counts)
    vectors = vectors_of(collection, name, torch.from_numpy(seen))
    alike = (vectors[:, None] == vectors).all(2)
    assert found.collisions == int(alike.tril(-1).any(1).sum())
    changed = 0
    for physical in {p.name: p for p in collection.table(name).physical_tables()}.values():
        before = collection.lookup.weight(physical.name).clone()
        for row in range(physical.num_rows):
            rows = before.clone()
            rows[row] += 1.0
            collection.lookup.load_weight(physical.name, rows)
            changed += bool((vectors_of(collection, name, torch.from_numpy(seen)) != vectors).any())
        collection.lookup.load_weight(physical.name, before)
    assert found.unused_rows == found.num_rows - changed


@pytest.mark.parametrize("name", ["full", "hash", "unified", "qr"])
def test_collisions_are_the_number_that_is_expected_of_ids_all_seen(collection, name):
    found = portray(collection, name)
    assert found.collisions == pytest.approx(found.expected_collisions, abs=5)


def test_a_shared_matrix_is_said_once_with_its_tables_and_bytes():
    tables = {name: UnifiedTable(name, V, D, num_rows=60, num_lookups=2) for name in ("user", "item")}
    tables |= {"own": FullTable("own", V, D), "qr": QRTable("qr", V, D)}
    collection = TableCollection([Feature(name, name) for name in tables], tables, lookup=TorchLookup)
    (note,) = shared_notes(collection, list(tables))
    assert note.startswith("user, item share the matrix ")
    assert "960 B" in note, "60 rows of 4 float32 each"
    assert shared_notes(collection, ["user", "own", "qr"]) == []


def test_no_id_seen_is_no_collision(collection):
    found = portray(collection, "hash", np.zeros(V, dtype=np.int64))
    assert (found.collisions, found.unused_rows) == (0, found.num_rows)


def test_dead_rows_and_norms(collection):
    rows = torch.ones(V, D)
    rows[10:15] = 0.0
    rows[100:] = 2.0
    collection.lookup.load_weight(collection.table("full").physical_tables()[0].name, rows)
    counts = np.where(np.arange(V) < 100, 5, 20)
    found = portray(collection, "full", counts)
    assert found.dead_rows == 5
    assert [(b.num_ids, b.median) for b in found.norms] == [
        (100, pytest.approx(D**0.5)), (200, pytest.approx(2 * D**0.5))
    ]  # fmt: skip
    assert found.effective_rank == pytest.approx(1.0)
    assert found.compression_ratio == 1.0


@given(st.integers(1, 8), st.integers(10, 40))
def test_effective_rank_of_equal_directions_is_their_number(rank, num_ids):
    directions = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0][:rank]
    vectors = directions.repeat(num_ids, 1)
    assert effective_rank(vectors) == pytest.approx(rank)


def test_effective_rank_of_nothing_is_zero():
    assert effective_rank(torch.zeros(5, 3)) == 0.0
    assert effective_rank(torch.zeros(0, 3)) == 0.0


def test_counts_must_fit(collection):
    with pytest.raises(ValueError, match=r"counts of table 'full' must have 300 ids, got 7"):
        portray(collection, "full", np.ones(7, dtype=np.int64))


def test_names_in_the_page_are_words_and_not_markup(collection, tmp_path):
    found = replace(portray(collection, "full"), name="<b>full")
    DescriptionReport("a & b", [found], ["<i>"], DenseModel(1, 4, 8)).write(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<td>&lt;b&gt;full</td>" in page
    assert "a &amp; b" in page
    assert page.count("<svg") == 2


@pytest.mark.parametrize("lookup", [TorchLookup, FbgemmLookup])
def test_the_state_of_dense_optimizers_is_counted_for_every_table(lookup):
    features = [Feature(name, name) for name in TABLES]
    collection = TableCollection(features, TABLES, optimizer=DenseGradient(), lookup=lookup)
    optimizer = torch.optim.Adam(collection.param_groups())
    assert portray(collection, "full").training_bytes == V * D * 4, "nothing is known of a state"
    collection(torch.arange(V).expand(len(TABLES), V)).square().sum().backward()
    optimizer.step()
    found = read_state_bytes([torch.optim.Adam(collection.param_groups())], [optimizer.state_dict()])
    for name in TABLES:
        portrait = portray(collection, name, state_bytes=found)
        assert portrait.training_bytes == 3 * portrait.serving_bytes
    whole = sum(tensor.nbytes for state in optimizer.state.values() for tensor in state.values() if tensor.ndim)
    assert sum(table_state_bytes(collection, name, found) for name in TABLES) == whole
    with pytest.raises(ValueError, match="and the config's of"):
        read_state_bytes([torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])], [optimizer.state_dict()])
