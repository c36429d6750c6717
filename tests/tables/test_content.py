"""ContentTable: given vectors, kept as they are up to a shift, a scale and a rotation, and projected."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from recsys.checkpoints.table_description import build_collection, describe_collection
from recsys.tables import (
    ContentTable,
    DenseGradient,
    Embedding,
    Feature,
    FullTable,
    RandomVectors,
    StoredVectors,
    TableCollection,
    VectorFile,
)


def given_vectors(num_ids=60, width=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    spread = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.2, 0.1])[:width]
    return torch.randn(num_ids, width, generator=generator) * spread + 4


def test_rows_keep_the_distances_between_vectors():
    vectors = given_vectors()
    vectors[3] = 0
    table = ContentTable("f", 60, 8, vectors=vectors)
    rows = Embedding(table).weights[0].detach()
    known = torch.arange(60) != 3
    ratio = torch.pdist(rows[known]) / torch.pdist(vectors[known])
    assert torch.allclose(ratio, ratio.mean())
    assert rows[known][:, :7].square().mean().item() == pytest.approx(1, rel=1e-5)
    assert rows[3].nonzero().tolist() == [[7]], "an id without a vector is of its own kind"


def test_pca_keeps_the_directions_of_greatest_variance():
    vectors = given_vectors()
    rows = Embedding(ContentTable("f", 60, 8, vectors=vectors, row_dim=3)).weights[0].detach()[:, :3].numpy()
    centred = (vectors - vectors.mean(0)).double().numpy()
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :3] * values[:3]
    signs = np.sign((rows * expected).sum(0))
    assert np.allclose(rows, expected * signs / np.sqrt((expected**2).mean()), atol=1e-4)


@pytest.mark.parametrize("row_dim", [None, 3])
@pytest.mark.parametrize("embedding_dim", [4, 24])
def test_the_initial_deviation_is_that_asked_for(row_dim, embedding_dim):
    vectors = given_vectors(5_000)
    table = ContentTable("f", 5_000, embedding_dim, vectors=vectors, row_dim=row_dim, init_std=0.02)
    found = Embedding(table)(torch.arange(5_000)).detach()
    assert found.square().mean().sqrt().item() == pytest.approx(0.02, rel=1e-3)


def test_only_the_projection_is_trained():
    tables = {name: ContentTable(name, 60, 8, vectors=given_vectors(seed=place)) for place, name in enumerate("ab")}
    collection = TableCollection([Feature(n, n) for n in "ab"], tables, optimizer=DenseGradient())
    assert len(collection.groups) == 1
    before = {name: collection.lookup.weight(name).clone() for name in "ab"}
    optimizer = torch.optim.SGD(collection.parameters(), 0.1)
    ids = torch.randint(0, 60, (2, 50))
    vectors = collection(ids)
    vectors.square().sum().backward()
    optimizer.step()
    assert all(torch.equal(collection.lookup.weight(name), before[name]) for name in "ab")
    assert not torch.equal(collection(ids), vectors)


@pytest.mark.parametrize("budget", [2_000, 1_100])
def test_a_budget_buys_columns(budget):
    table = ContentTable("f", 60, 8, vectors=given_vectors(), budget_bytes=budget)
    used = table.own_bytes() + table.physical_tables()[0].num_bytes()
    assert used == {2_000: 4 * 4 * 68, 1_100: 4 * 4 * 68}[budget] or used <= budget
    assert used <= budget
    with pytest.raises(ValueError, match=f"smallest budget that can is {4 * 4 * 68}"):
        ContentTable("f", 60, 8, vectors=given_vectors(), budget_bytes=1_000)


def test_files(tmp_path):
    vectors = given_vectors(5)
    vectors[2] = 0
    np.save(tmp_path / "v.npy", vectors.numpy())
    columns = {"item": ["c", "a", "x"], "emb": [vectors[4].tolist(), vectors[1].tolist(), [0.0] * 7]}
    pq.write_table(pa.table(columns), tmp_path / "v.parquet")
    pq.write_table(pa.table({"id": [1, 4], "value": ["a", "c"]}), tmp_path / "vocabulary.parquet")
    whole = VectorFile(str(tmp_path / "v.npy")).load("t", 5)
    assert torch.equal(whole, vectors)
    joined = VectorFile(str(tmp_path / "v.parquet"), "emb", str(tmp_path / "vocabulary.parquet")).load("t", 5)
    assert torch.equal(joined[[1, 4]], vectors[[1, 4]])
    assert not joined[[0, 2, 3]].any()
    with pytest.raises(ValueError, match="num_embeddings=6"):
        VectorFile(str(tmp_path / "v.npy")).load("t", 6)
    with pytest.raises(ValueError, match="no ids; give their vocabulary"):
        VectorFile(str(tmp_path / "v.parquet"), "emb").load("t", 5)
    with pytest.raises(ValueError, match="'embb'"):
        VectorFile(str(tmp_path / "v.parquet"), "embb").load("t", 5)


@pytest.mark.parametrize("vectors", [given_vectors(), RandomVectors(7)], ids=["given", "random"])
def test_a_description_builds_the_table_again_without_the_file(vectors):
    table = ContentTable("f", 60, 8, vectors=vectors, row_dim=3)
    collection = TableCollection([Feature("f", "f"), Feature("g", "g")], {"f": table, "g": FullTable("g", 60, 8)})
    again = build_collection(describe_collection(collection))
    trained = collection.state_dict()
    again.load_state_dict({name: trained[name] for name in again.state_dict()})
    ids = torch.arange(60).expand(2, -1)
    assert torch.equal(again(ids), collection(ids))


def test_a_checkpoint_loads_without_the_file():
    trained = Embedding(ContentTable("f", 60, 8, vectors=given_vectors()))
    alone = Embedding(ContentTable("f", 60, 8, vectors=StoredVectors(8)))
    alone.load_state_dict(trained.state_dict())
    assert torch.equal(alone(torch.arange(60)), trained(torch.arange(60)))
