"""Clustering between epochs."""

import copy

import pytest
import torch
from contract import Oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.tables import SGD, Adagrad, CCETable, DenseGradient, Embedding, Feature, Frozen, TableCollection
from recsys.tables.clustering import kmeans, means, nearest
from recsys.tables.routing.hashes import bucket, name_seeds

V, D, C, R = 400, 8, 2, 12


def collect(optimizer=None, features=("a", "b"), num_clusters=R, **arguments):
    tables = {name: CCETable(name, V, D, num_clusters=num_clusters, num_chunks=C, **arguments) for name in features}
    return TableCollection([Feature(name, name) for name in tables], tables, optimizer=optimizer or Adagrad(0.1))


def all_vectors(collection):
    ids = torch.arange(V).expand(len(collection.features), V)
    with torch.no_grad():
        return collection(ids)


def test_by_hand_before_any_clustering():
    embedding = Embedding(CCETable("f", V, D, num_clusters=R, num_chunks=C))
    rows = embedding.weights[0].view(C, 2, R, D // C)
    seeds = name_seeds("f", 2 * C)
    ids = torch.arange(V)
    chunks = [rows[c, 0][bucket(ids, seeds[c], R)] + rows[c, 1][bucket(ids, seeds[C + c], R)] for c in range(C)]
    assert_close(embedding(ids), torch.cat(chunks, 1))


KINDS = torch.randn(4, D, generator=torch.Generator().manual_seed(1))


def train(collection, num_steps=100):
    """Let the vectors of ids become those of the four kinds that they are of; what is left of the distance."""
    for step in range(num_steps):
        ids = torch.randint(0, V, (len(collection.features), 256), generator=torch.Generator().manual_seed(step))
        (collection(ids) - KINDS[ids.t() % 4]).square().sum().backward()
        collection.step()
    return (all_vectors(collection) - KINDS[torch.arange(V) % 4].unsqueeze(1)).square().mean()


def clustered(num_pointers=None):
    """A collection whose ids are clustered by what they have learnt, and their vectors before."""
    collection = collect(num_pointers=num_pointers)
    train(collection)
    before = all_vectors(collection)
    collection.end_epoch()
    return collection, before


def test_pointers_are_nearest_centroids_and_the_rest_is_a_mean_by_hash():
    collection, before = clustered()
    for position, name in enumerate(("a", "b")):
        table = collection.table(name)
        rows = collection.lookup.weight(name).view(C, 2, R, D // C)
        numbers = table.rows_of(torch.arange(V)).view(C, 2, V)
        for c in range(C):
            chunk = before[:, position].unflatten(-1, (C, -1))[:, c]
            pointed, hashed = numbers[c, 0] - 2 * c * R, numbers[c, 1] - (2 * c + 1) * R
            assert torch.equal(pointed, table.listed("pointers")[c].long())
            assert torch.equal(pointed, torch.cdist(chunk, rows[c, 0]).argmin(1))
            left = chunk - rows[c, 0][pointed]
            for row in range(R):
                assert_close(rows[c, 1][row], left[hashed == row].mean(0), rtol=1e-4, atol=1e-5)


def test_the_hash_is_another_after_each_clustering():
    collection = collect(last_clustering_epoch=2)
    table, found = collection.table("a"), []
    for _ in range(4):
        found.append(table.rows_of(torch.arange(V)).view(C, 2, V)[:, 1].clone())
        collection.end_epoch()
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])
    assert torch.equal(found[2], found[3])
    assert table.num_epochs.item() == 4
    assert table.num_clusterings.item() == 2


def test_ids_of_one_kind_come_together():
    with_clusters, hashed = (collect(num_clusters=60, last_clustering_epoch=last) for last in (3, 0))
    for collection in (with_clusters, hashed):
        for _ in range(3):
            train(collection)
            collection.end_epoch()
    assert train(with_clusters) < 0.5 * train(hashed)


def test_ids_without_a_pointer_of_their_own_have_that_of_another():
    collection, _ = clustered(num_pointers=50)
    table = collection.table("a")
    pointers = table.listed("pointers").t().long()
    assert pointers.shape == (50, C)
    pointed = table.rows_of(torch.arange(V)).view(C, 2, V)[:, 0].t() - 2 * R * torch.arange(C)
    assert torch.equal(pointed[:50], pointers)
    assert all((pointers == own).all(1).any() for own in pointed[50:])
    assert len(pointed[50:].unique(dim=0)) > 5


def test_optimizer_state_starts_afresh():
    collection, _ = clustered()
    state = {kind: values for kind, values in collection.lookup.tensors("a").items() if kind != "weight"}
    assert state
    assert not any(values.any() for values in state.values())


def test_a_group_follows_its_tables_and_their_state_is_saved():
    collection, _ = clustered()
    assert [len(group) for group in collection.groups] == [2]
    ids = torch.randint(0, V, (2, 30))
    assert_close(collection(ids), Oracle(collection)(ids, {}).float(), rtol=1e-5, atol=1e-6)
    fresh = collect()
    fresh.load_state_dict(copy.deepcopy(collection.state_dict()))
    assert torch.equal(fresh(ids), collection(ids))
    assert fresh.table("a").num_epochs.item() == 1


@pytest.mark.parametrize("freeze", ["optimizer", "parameters"])
def test_frozen_rows_are_not_clustered(freeze):
    collection = collect(Frozen() if freeze == "optimizer" else None)
    if freeze == "parameters":
        collection.requires_grad_(False)
    before = all_vectors(collection)
    collection.end_epoch()
    assert torch.equal(all_vectors(collection), before)


def test_rows_whose_state_is_out_of_reach_are_refused():
    with pytest.raises(ValueError, match="CCETable 'a': its optimizer must be one whose state moves with a row"):
        collect(DenseGradient())


@pytest.mark.parametrize(("num_embeddings", "num_clusters"), [(1, 1), (3, 7), (30, 30)])
def test_fewer_ids_than_clusters_keep_their_vectors(num_embeddings, num_clusters):
    table = {"f": CCETable("f", num_embeddings, 4, num_clusters=num_clusters, num_chunks=1)}
    collection = TableCollection([Feature("f", "f")], table, optimizer=SGD(0.1))
    ids = torch.arange(num_embeddings).unsqueeze(0)
    before = collection(ids).detach()
    collection.end_epoch()
    assert_close(collection(ids).detach(), before)


def test_pointers_are_as_narrow_as_they_can_be():
    narrow, wide = (CCETable("f", 10, 4, num_clusters=count, num_chunks=1) for count in (1 << 15, (1 << 15) + 1))
    assert [table.own_bytes() for table in (narrow, wide)] == [10 * 2 + 16, 10 * 4 + 16]
    assert int(CCETable("f", 100_000, 4, num_clusters=1 << 15, num_chunks=1).listed("pointers").min()) >= 0


@given(
    num_embeddings=st.integers(1, 10**6),
    fraction=st.floats(1e-4, 1),
    num_pointers=st.none() | st.integers(1, 10**4),
    num_chunks=st.integers(1, 4),
)
@settings(deadline=None, max_examples=40)
def test_a_budget_is_kept_used_or_refused(num_embeddings, fraction, num_pointers, num_chunks):
    budget = int(fraction * 4 * 12 * num_embeddings)
    arguments = {"num_pointers": num_pointers, "num_chunks": num_chunks}
    least = CCETable("f", num_embeddings, 12, num_clusters=1, **{**arguments, "num_pointers": num_pointers or 1})
    if budget < bytes_of(least):
        with pytest.raises(ValueError, match=f"smallest budget that can is {bytes_of(least)} bytes"):
            CCETable("f", num_embeddings, 12, budget_bytes=budget, **arguments)
        return
    table = CCETable("f", num_embeddings, 12, budget_bytes=budget, **arguments)
    assert bytes_of(table) <= budget
    if budget > 10_000 and table.num_clusters < min(num_embeddings, 1 << 15):
        assert bytes_of(table) >= 0.95 * budget


def bytes_of(table):
    return table.physical_tables()[0].num_bytes() + table.own_bytes()


def test_means_of_groups_and_of_none():
    points = torch.randn(50, 3)
    numbers = torch.randint(0, 4, (50,))
    found, counts = means(points, numbers, 6)
    for group in range(4):
        assert_close(found[group], points[numbers == group].mean(0))
    assert counts.tolist() == [*torch.bincount(numbers, minlength=4).tolist(), 0, 0]
    assert not found[4:].any()


def test_nearest_is_that_of_all_distances():
    points, centroids = torch.randn(500, 3).double(), torch.randn(9, 3).double()
    numbers, distances = nearest(points, centroids)
    every = torch.cdist(points, centroids).square()
    assert torch.equal(numbers, every.argmin(1))
    assert_close(distances, every.min(1).values)


def test_kmeans_finds_what_is_apart_and_leaves_no_cluster_empty():
    middles = 10 * torch.randn(8, 3)
    points = (middles.repeat(50, 1) + 0.01 * torch.randn(400, 3)).float()
    centroids = kmeans(points, 64, seed=3)
    assert nearest(points, centroids)[1].max() < 0.1
    twice = torch.zeros(40, 2)
    twice[:3] = torch.tensor([[1.0, 0], [0, 1], [5, 5]])
    centroids = kmeans(twice, 4)
    assert torch.isfinite(centroids).all()
    assert nearest(twice, centroids)[1].max() < 1e-6
    assert torch.equal(kmeans(points, 8, seed=3), kmeans(points, 8, seed=3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_clusters": 5, "num_chunks": 5}, r"num_chunks must be in \[1, 4\], got 5"),
        ({"num_clusters": 5, "num_chunks": 3}, "embedding_dim=8 must be a multiple of num_chunks=3"),
        ({"num_clusters": 0}, r"num_clusters must be in \[1, 268435456\], got 0"),
        ({"num_clusters": 5, "num_pointers": 0}, "num_pointers must be at least 1, got 0"),
        ({"num_clusters": 5, "last_clustering_epoch": -1}, "last_clustering_epoch must be at least 0, got -1"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ValueError, match=f"CCETable 'f': {message}"):
        CCETable("f", 100, 8, **arguments)
