"""A collection in programs written for torchrec, and under tools that walk over parameters."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.testing import assert_close

from recsys.tables import (
    SGD,
    Bag,
    DenseGradient,
    Embedding,
    Feature,
    FullTable,
    HashTable,
    KeyedCollection,
    QRTable,
    TableCollection,
)

D = 8


def collection(pooling="sum", **arguments):
    tables = {"a": QRTable("a", 50, D), "b": HashTable("b", 70, D, num_rows=9)}
    return TableCollection([Feature("f1", "a", pooling), Feature("f2", "b", pooling)], tables, **arguments)


@pytest.fixture(scope="module")
def torchrec():
    return pytest.importorskip("torchrec")


def jagged(torchrec, weights=None):
    values, lengths = torch.tensor([1, 2, 3, 40, 5, 69, 7]), torch.tensor([2, 0, 2, 1, 1, 1])
    return torchrec.KeyedJaggedTensor(["f1", "f2"], values, weights, lengths)


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_jagged_in_keyed_out(torchrec, pooling):
    ours = collection(pooling)
    keyed = KeyedCollection(ours)(jagged(torchrec))
    assert keyed.keys() == ["f1", "f2"]
    bags = {
        "f1": Bag(torch.tensor([1, 2, 3, 40]), torch.tensor([2, 0, 2])),
        "f2": Bag(torch.tensor([5, 69, 7]), torch.tensor([1, 1, 1])),
    }
    expected = ours(torch.zeros(0, 3, dtype=torch.long), bags)
    assert_close(keyed["f1"], expected[:, 0])
    assert_close(keyed["f2"], expected[:, 1])


def test_torchrecs_tracer_records_it_as_one_call(torchrec):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tables = KeyedCollection(collection())
            self.head = nn.Linear(2 * D, 1)

        def forward(self, features):
            return self.head(self.tables(features).values())

    model = Model().eval()
    graph = torchrec.fx.Tracer().trace(model)
    assert "tables" in [node.target for node in graph.nodes if node.op == "call_module"]
    features = jagged(torchrec)
    assert_close(torch.fx.GraphModule(model, graph)(features), model(features))


def test_equal_to_torchrecs_own_over_the_same_vectors(torchrec):
    ours = TableCollection(
        [Feature("f1", "a", "sum"), Feature("f2", "b", "sum")],
        {"a": FullTable("a", 50, D), "b": FullTable("b", 70, D)},
    )
    theirs = torchrec.EmbeddingBagCollection(tables=KeyedCollection(ours).embedding_bag_configs(), is_weighted=True)
    for name in ("a", "b"):
        theirs.embedding_bags[name].weight.data.copy_(ours.lookup.weight(name))
    features = jagged(torchrec, torch.rand(7))
    assert_close(KeyedCollection(ours)(features).values(), theirs(features).values())


def test_torchrecs_dlrm_trains_on_it(torchrec):
    from torchrec.models.dlrm import DLRM

    model = DLRM(KeyedCollection(collection(optimizer=SGD(0.5))), 3, [16, D], [16, 1])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    dense, labels = torch.randn(3, 3), torch.tensor([[1.0], [0.0], [1.0]])
    rows = model.sparse_arch.embedding_bag_collection.collection.lookup.weight("b").clone()
    losses = []
    for _ in range(30):
        loss = nn.functional.binary_cross_entropy_with_logits(model(dense, jagged(torchrec)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert not torch.equal(rows, model.sparse_arch.embedding_bag_collection.collection.lookup.weight("b"))


def test_what_it_refuses(torchrec):
    with pytest.raises(ValueError, match="feature 'f1' must have pooling 'sum' or 'mean'"):
        KeyedCollection(collection(None))
    other = torchrec.KeyedJaggedTensor(["f1"], torch.tensor([1]), None, torch.tensor([1]))
    with pytest.raises(ValueError, match=r"features \['f2'\] are not among \['f1'\]"):
        KeyedCollection(collection())(other)
    with pytest.raises(ValueError, match="weights go with pooling 'sum'"):
        KeyedCollection(collection("mean"))(jagged(torchrec, torch.ones(7)))


def step(model, optimizer=None):
    model(torch.tensor([[1, 2], [3, 4]])).sum().backward()
    if optimizer is not None:
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("average", [None, get_ema_multi_avg_fn(0.5)])
def test_rows_of_a_collection_are_not_averaged_in_silence(average):
    model = collection(None, optimizer=SGD(0.1))
    averaged = AveragedModel(model, multi_avg_fn=average)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        step(model, optimizer)
        averaged.update_parameters(model)
    with pytest.raises(RuntimeError, match="AveragedModel averages the rest of a model and not them"):
        averaged(torch.tensor([[1, 2], [3, 4]]))
    own = copy.deepcopy(model)  # an ordinary copy is read and trained
    step(own, torch.optim.SGD(own.parameters(), lr=0.1))
    step(own)


def test_dense_rows_are_averaged():
    model = collection(None, optimizer=DenseGradient())
    averaged = AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    for _ in range(3):
        step(model, optimizer)
        averaged.update_parameters(model)
        seen.append(model.lookup.weight("b").clone())
    assert_close(averaged.module.lookup.weight("b"), sum(seen) / 3)
    averaged(torch.tensor([[1, 2], [3, 4]]))


def test_averaged_seeds_are_noticed():
    for model in (collection(None, optimizer=DenseGradient()), Embedding(HashTable("b", 70, D, num_rows=9))):
        averaged = AveragedModel(model, use_buffers=True, multi_avg_fn=get_ema_multi_avg_fn(0.5))
        for _ in range(2):
            averaged.update_parameters(model)
        ids = torch.tensor([[1, 2], [3, 4]])
        model(ids)
        with pytest.raises(RuntimeError, match=r"was overwritten, as AveragedModel\(use_buffers=True\) does"):
            averaged(ids)


def test_an_embedding_is_averaged():
    model = Embedding(QRTable("a", 50, D))
    averaged = AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    for _ in range(3):
        step(model, optimizer)
        averaged.update_parameters(model)
        seen.append(model.weights[0].detach().clone())
    assert_close(averaged.module.weights[0].detach(), sum(seen) / 3)


SCHEDULERS = {
    "lambda": lambda o: LambdaLR(o, lambda epoch: 0.5**epoch),
    "cosine": lambda o: CosineAnnealingLR(o, 4),
    "one cycle": lambda o: OneCycleLR(o, 0.4, total_steps=4, cycle_momentum=False),
}


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
def test_schedulers_move_the_rate_of_rows(make):
    model = collection(None, optimizer=SGD(1.0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    scheduler = make(optimizer)
    rows = model.lookup.weight("b")
    row = model.table("b").rows_of(torch.tensor([3]))[0, 0]
    ids = torch.tensor([[1], [3]])
    for _ in range(3):
        rate = optimizer.param_groups[0]["lr"] / optimizer.param_groups[0]["initial_lr"]
        before = rows[row].clone()
        model(ids)[:, 1].sum().backward()
        optimizer.step()
        scheduler.step()
        assert_close(rows[row], before - rate)


@pytest.mark.parametrize("first", [None, 0.2], ids=["the optimizer's rate", "the group's own"])
def test_rates_that_nobody_notes_the_first_of_move_those_of_rows(first):
    model = collection(None, optimizer=SGD(1.0))
    group = {"params": [*model.parameters()]} | ({} if first is None else {"lr": first})
    optimizer = torch.optim.SGD([group], lr=0.1)
    plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    rows, ids = model.lookup.weight("b"), torch.tensor([[1], [3]])
    row = model.table("b").rows_of(torch.tensor([3]))[0, 0]
    for expected in (1.0, 1.0, 0.5, 0.25):
        before = rows[row].clone()
        model(ids)[:, 1].sum().backward()
        optimizer.step()
        assert_close(rows[row], before - expected)
        plateau.step(1.0)
        optimizer.load_state_dict(optimizer.state_dict())


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(ValueError, match="use lookup=TorchrecLookup, or optimizer=DenseGradient"):
        collection(None)(torch.tensor([[1], [3]]))
