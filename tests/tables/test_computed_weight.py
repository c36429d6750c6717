"""The weight of a compressed table: its vectors, differentiable, that nothing can write to or train."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from contract import EMBEDDING_DIM, EXAMPLES, make
from torch import nn
from torch.nn.utils import parametrize, prune
from torch.testing import assert_close

from recsys.tables import Embedding, QRTable

V, D = 50, 8
compressed_example = pytest.mark.parametrize("example", [each for each in EXAMPLES if not make(each).keeps_vectors])


@compressed_example
def test_the_computed_weight_is_the_vectors_and_differentiable(example):
    embedding = Embedding(make(example, num_embeddings=600))
    ids = torch.arange(600)
    assert embedding.weight.shape == (600, EMBEDDING_DIM)
    assert torch.equal(embedding.weight, embedding(ids))
    factors = torch.randn(600, EMBEDDING_DIM)
    trained = {name: parameter for name, parameter in embedding.named_parameters() if parameter.requires_grad}
    assert embedding.weight.requires_grad == bool(trained)
    if not trained:
        return
    (F.embedding(ids.flip(0), embedding.weight) * factors).sum().backward()
    through_weight = {name: parameter.grad.clone() for name, parameter in trained.items()}
    embedding.zero_grad()
    (embedding(ids.flip(0)) * factors).sum().backward()
    for name, parameter in trained.items():
        # A sum of 600 terms that cancel, taken in two orders.
        assert_close(through_weight[name], parameter.grad, rtol=1e-3, atol=1e-4)


WRITES = {
    "in place": lambda w: w.zero_(),
    "data": lambda w: w.data.normal_(),
    "a row of data": lambda w: w.data[0].fill_(0),
    "item": lambda w: w.__setitem__(0, 1.0),
    "other data": lambda w: setattr(w, "data", torch.zeros_like(w)),
    "init": nn.init.xavier_uniform_,
    "init of data": lambda w: nn.init.normal_(w.data, std=0.02),
    "a view": lambda w: w.view(-1)[3:].copy_(torch.ones(V * D - 3)),
    "a row": lambda w: w.unbind(0)[0].mul_(2),
    "detached": lambda w: w.detach().zero_(),
    "out": lambda w: torch.add(w, 1, out=w),
    "inplace": lambda w: F.relu(w, inplace=True),
    "max_norm": lambda w: F.embedding(torch.tensor([0]), w, max_norm=1e-6),
    "freezing": lambda w: w.requires_grad_(False),
    "other memory": lambda w: w.set_(torch.zeros(2)),
    "several": lambda w: torch._foreach_mul_([w], 2.0),
    "numpy": lambda w: w.detach().numpy().__setitem__(0, 1),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_writing_to_a_computed_weight_raises(write, mode):
    embedding = Embedding(QRTable("a", V, D))
    with mode(), pytest.raises((RuntimeError, ValueError), match=r"cannot be written to|read-only"):
        write(embedding.weight)


def test_a_computed_weight_cannot_be_replaced():
    embedding = Embedding(QRTable("a", V, D))
    with pytest.raises(AttributeError, match="cannot be replaced or tied"):
        embedding.weight = nn.Parameter(torch.zeros(V, D))
    with pytest.raises(TypeError):
        nn.Linear(D, V).weight = embedding.weight
    assert not any(name.endswith("weight") or "weights." in name for name, _ in embedding.named_parameters())


OPTIMIZERS = {
    "SGD": lambda w: torch.optim.SGD([w], lr=0.1),
    "Adam": lambda w: torch.optim.Adam([w]),
    "SparseAdam": lambda w: torch.optim.SparseAdam([w]),
    "a group": lambda w: torch.optim.AdamW([{"params": [w], "lr": 0.1}]),
    "a later group": lambda w: torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1).add_param_group({"params": w}),
    "data": lambda w: torch.optim.SGD([w.data], lr=0.1),
    "detached": lambda w: torch.optim.SGD([w.detach()], lr=0.1),
    "a view": lambda w: torch.optim.SGD([w.view(-1)], lr=0.1),
}


@pytest.mark.parametrize("make_optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("frozen", [False, True])
def test_no_optimizer_takes_a_computed_weight(make_optimizer, mode, frozen):
    embedding = Embedding(QRTable("a", V, D)).requires_grad_(not frozen)
    with mode():
        weight = embedding.weight
    with pytest.raises(ValueError, match="can't optimize a non-leaf Tensor"):
        make_optimizer(weight)


def test_an_optimizer_that_takes_any_tensor_cannot_step_it():
    weight = Embedding(QRTable("a", V, D)).weight
    weight.retain_grad()
    for options in ({}, {"foreach": True}, {"differentiable": True}):
        optimizer = torch.optim.SGD([weight], lr=0.1, **options)
        weight.sum().backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="cannot be written to or trained"):
            optimizer.step()


TAKERS = {
    "a parameter": lambda e: nn.Parameter(e.weight),
    "a list of parameters": lambda e: nn.ParameterList([e.weight]),
    "pruning": lambda e: prune.l1_unstructured(e, "weight", amount=0.2),
    "a parametrization": lambda e: parametrize.register_parametrization(e, "weight", nn.Identity()),
    "a norm": torch.nn.utils.parametrizations.spectral_norm,
    "a state dict": lambda e: e.load_state_dict({"weight": torch.zeros(V, D)}),
}


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_nothing_takes_it_for_a_parameter(take):
    embedding = Embedding(QRTable("a", V, D))
    before = embedding(torch.arange(V))
    with pytest.raises((AttributeError, RuntimeError, TypeError, ValueError)):
        take(embedding)
    assert torch.equal(embedding(torch.arange(V)), before)


def test_saved_and_copied_it_is_an_ordinary_tensor(tmp_path):
    weight = Embedding(QRTable("a", V, D)).weight
    torch.save({"with": weight, "without": weight.detach()}, tmp_path / "weight")
    saved = torch.load(tmp_path / "weight").values()
    for other in (*saved, copy.deepcopy(weight.detach()), pickle.loads(pickle.dumps(weight))):
        assert type(other) is torch.Tensor
        assert torch.equal(other, weight)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(weight)  # as of any tensor with a gradient
