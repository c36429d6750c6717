"""Rows step with the optimizer, once a step, whatever lies between a backward pass and the step."""

import copy

import pytest
import torch
from contract import collect as collect_example
from torch import nn
from torch.testing import assert_close

from recsys.tables import (
    SGD,
    Adagrad,
    Adam,
    DenseGradient,
    FbgemmLookup,
    Feature,
    Frozen,
    FullTable,
    HashTable,
    NumbaLookup,
    RowWiseAdagrad,
    TableCollection,
    TorchLookup,
)

V, D = 30, 8
LOOKUPS = [TorchLookup, NumbaLookup, FbgemmLookup]
OPTIMIZERS = [SGD(0.5), Adagrad(0.1), RowWiseAdagrad(0.1), Adam(0.05), RowWiseAdagrad(0.1, weight_decay=0.3)]
every_lookup = pytest.mark.parametrize("lookup", LOOKUPS)
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)


def collect(optimizer=None, lookup=TorchLookup, **settings):
    """Two features of unlike widths' stores: a full table, and one whose rows are shared."""
    tables = {"a": FullTable("a", V, D), "b": HashTable("b", V, D, num_rows=7)}
    features = [Feature(name, name) for name in tables]
    return TableCollection(features, tables, optimizer=optimizer or SGD(0.5), lookup=lookup, **settings)


def draw(seed, num_samples=6):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, V, (2, num_samples), generator=generator), torch.randn(
        num_samples, 2, D, generator=generator
    )


def loss_of(collection, seed):
    ids, weights = draw(seed)
    return (collection(ids) * weights).sum()


def rows_of(collection):
    found = {}
    for name in collection.lookup.tables:
        found |= {f"{name}.{kind}": values.clone() for kind, values in collection.lookup.tensors(name).items()}
    return found


def assert_rows(found, wanted, **tolerance):
    for name, values in rows_of(wanted).items():
        assert_close(rows_of(found)[name], values, msg=lambda said, name=name: f"{name}: {said}", **tolerance)


@every_lookup
@every_optimizer
def test_accumulated_passes_and_several_reads_are_one_step(lookup, optimizer):
    at_once, accumulated, two_reads = (collect(optimizer, lookup) for _ in range(3))
    for step in range(2):
        seeds = range(10 * step, 10 * step + 7)
        sum(loss_of(at_once, seed) for seed in seeds).backward()
        for seed in seeds:
            loss_of(accumulated, seed).backward()
        first, *others = [loss_of(two_reads, seed) for seed in seeds]
        (first + sum(others)).backward()
        for collection in (at_once, accumulated, two_reads):
            collection.step()
    assert_rows(accumulated, at_once, rtol=1e-4, atol=1e-6)
    assert_rows(two_reads, at_once, rtol=1e-4, atol=1e-6)
    assert {store.num_steps for store in accumulated.lookup.stores} == {2}


@every_lookup
def test_rows_step_with_the_optimizer_that_holds_the_parameters(lookup):
    collection, by_hand = collect(Adagrad(0.1), lookup), collect(Adagrad(0.1), lookup)
    model = nn.ModuleDict({"tables": collection, "head": nn.Linear(D, 1)})
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    for seed in range(3):
        optimizer.zero_grad()
        loss_of(collection, seed).backward()
        before = rows_of(collection)
        assert all(torch.equal(before[name], values) for name, values in rows_of(by_hand).items())
        optimizer.step()
        loss_of(by_hand, seed).backward()
        by_hand.step()
    assert_rows(collection, by_hand)
    assert float(collection.lookup.gradients.handle.detach()) == 0


@pytest.mark.parametrize("set_to_none", [True, False])
def test_gradients_that_are_cleared_are_forgotten(set_to_none):
    collection, wanted = collect(), collect()
    optimizer = torch.optim.SGD(collection.parameters(), lr=1.0)
    loss_of(collection, 0).mul(float("nan") if set_to_none else 3.0).backward()
    optimizer.zero_grad(set_to_none=set_to_none)
    loss_of(collection, 1).backward()
    optimizer.step()
    loss_of(wanted, 1).backward()
    wanted.step()
    assert_rows(collection, wanted)


def test_a_pass_whose_gradient_is_cleared_moves_nothing():
    collection = collect()
    before = rows_of(collection)
    optimizer = torch.optim.SGD(collection.parameters(), lr=1.0)
    loss_of(collection, 0).backward()
    optimizer.zero_grad()
    optimizer.step()
    assert all(torch.equal(before[name], values) for name, values in rows_of(collection).items())


@every_lookup
def test_frozen_is_frozen(lookup):
    for freeze in (lambda c: c.requires_grad_(False), lambda c: c.eval(), lambda c: c.lookup.requires_grad_(False)):
        collection = collect(lookup=lookup)
        head = nn.Linear(D, 1)
        before = rows_of(collection)
        freeze(collection)
        optimizer = torch.optim.SGD([*collection.parameters(), *head.parameters()], lr=0.1)
        head(collection(draw(0)[0])).sum().backward()
        optimizer.step()
        collection.step()
        assert all(torch.equal(before[name], values) for name, values in rows_of(collection).items())
    collection.requires_grad_(True).train()
    loss_of(collection, 0).backward()
    collection.step()
    assert not torch.equal(before["a.weight"], collection.lookup.weight("a"))


@every_lookup
@pytest.mark.parametrize("num_passes", [1, 2])
def test_a_scaled_loss_steps_as_if_it_were_not(lookup, num_passes):
    collection, wanted = collect(RowWiseAdagrad(0.1), lookup), collect(RowWiseAdagrad(0.1), lookup)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    optimizer = torch.optim.SGD(collection.parameters(), lr=0.1)
    for seed in range(num_passes):
        scaler.scale(loss_of(collection, seed)).backward()
        loss_of(wanted, seed).backward()
    scaler.step(optimizer)
    scaler.update()
    wanted.step()
    assert_rows(collection, wanted, rtol=1e-5, atol=1e-7)
    before = rows_of(collection)
    optimizer.zero_grad()
    scaler.scale(loss_of(collection, 5) * float("inf")).backward()
    scaler.step(optimizer)
    assert all(torch.equal(before[name], values) for name, values in rows_of(collection).items()), "skipped"


@every_lookup
@pytest.mark.parametrize("num_passes", [1, 3])
def test_clipping_by_norm_counts_rows_where_asked(lookup, num_passes):
    """Against dense embeddings of the same rows, whose gradients torch clips."""
    collection = collect(SGD(0.5), lookup, clip_rows=True)
    head = nn.Parameter(torch.ones(D))
    dense = {name: nn.Parameter(collection.lookup.weight(name).clone()) for name in ("a", "b")}
    table = collection.table("b")
    optimizer = torch.optim.SGD([*collection.parameters(), head], lr=0.5)
    other = torch.optim.SGD([*dense.values(), other_head := nn.Parameter(torch.ones(D))], lr=0.5)
    for seed in range(num_passes):
        ids, weights = draw(seed)
        (collection(ids) * weights * head).sum().backward()
        vectors = torch.stack([dense["a"][ids[0]], dense["b"][table.rows_of(ids[1])[0]]], 1)
        (vectors * weights * other_head).sum().backward()
    norms = [
        nn.utils.clip_grad_norm_([*parameters], 0.7)
        for parameters in ([*collection.parameters(), head], [*dense.values(), other_head])
    ]
    assert_close(norms[0], norms[1], rtol=1e-5, atol=0)
    optimizer.step()
    other.step()
    for name, values in dense.items():
        assert_close(collection.lookup.weight(name), values.detach(), rtol=1e-5, atol=1e-6)
    assert_close(head, other_head)


def test_without_it_rows_are_scaled_by_the_factor_of_the_others():
    collection, wanted = collect(), collect()
    head = nn.Parameter(torch.ones(D))
    optimizer = torch.optim.SGD([*collection.parameters(), head], lr=0.1)
    ids, weights = draw(0)
    (collection(ids) * weights * head).sum().backward()
    dense_norm = head.grad.norm()
    norm = nn.utils.clip_grad_norm_([*collection.parameters(), head], 0.1)
    assert_close(norm, dense_norm)
    optimizer.step()
    (wanted(ids) * weights).sum().mul(float(0.1 / dense_norm)).backward()
    wanted.step()
    assert_rows(collection, wanted, rtol=1e-4, atol=1e-6)


@every_lookup
def test_torchs_schedulers_move_the_rate_of_rows(lookup):
    collection, wanted = collect(lookup=lookup), collect(lookup=lookup)
    optimizer = torch.optim.Adam(collection.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    for seed in range(3):
        loss_of(collection, seed).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        loss_of(wanted, seed).backward()
        wanted.step(learning_rate_factor=0.5**seed)
    assert_rows(collection, wanted)


def test_maximizing_climbs():
    collection, wanted = collect(), collect()
    optimizer = torch.optim.SGD(collection.parameters(), lr=0.1, maximize=True)
    loss_of(collection, 0).backward()
    optimizer.step()
    loss_of(wanted, 0).neg().backward()
    wanted.step()
    assert_rows(collection, wanted)


def test_a_copy_has_gradients_of_its_own():
    collection = collect()
    loss_of(collection, 0).backward()
    twin = copy.deepcopy(collection)
    before = rows_of(twin)
    collection.step()
    assert all(torch.equal(before[name], values) for name, values in rows_of(twin).items())
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    optimizer.zero_grad()
    loss_of(twin, 1).backward()
    optimizer.step()
    assert not torch.equal(before["a.weight"], twin.lookup.weight("a"))


def test_a_loop_that_never_steps_is_warned():
    collection = collect()
    for seed in range(63):
        loss_of(collection, seed).backward()
    with pytest.warns(UserWarning, match="64 backward passes have given gradients to table rows, and no optimizer"):
        loss_of(collection, 63).backward()


def test_rows_that_each_process_would_train_alone_are_refused(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(ValueError, match="TorchLookup trains rows in one process, and this is one of 2; use"):
        collect()(draw(0)[0])
    for optimizer in (DenseGradient(), Frozen()):
        collect(optimizer)(draw(0)[0])
    with torch.no_grad():
        collect()(draw(0)[0])


def test_the_handle_is_in_no_checkpoint():
    assert all("handle" not in name for name in collect().state_dict())


@every_lookup
def test_an_empty_batch_counts_as_a_step_of_adam(lookup):
    """As a dense optimizer counts a step whose gradient is zero."""
    collection = collect(Adam(0.1), lookup)
    collection(torch.zeros(2, 0, dtype=torch.int64)).sum().backward()
    collection.step()
    assert {store.num_steps for store in collection.lookup.stores} == {1}
    loss_of(collection, 0).backward()
    collection.step()
    assert {store.num_steps for store in collection.lookup.stores} == {2}


def test_a_step_of_fbgemm_reads_no_row_again(monkeypatch):
    collection = collect_example("full", ["one", "two"], lookup=FbgemmLookup, optimizer=RowWiseAdagrad(0.1))
    (store,) = collection.lookup.stores
    reads = []
    call = store._call
    monkeypatch.setattr(store, "_call", lambda rows, num_summed: reads.append(rows) or call(rows, num_summed))
    ids = torch.tensor([[3, 3, 5], [7, 8, 7]])

    def backward():
        collection(ids).square().sum().backward()

    for num_reads, prepare in (
        (1, lambda: None),
        (2, lambda: collection.lookup.load_weight("one", torch.ones(3_000, 24))),
        (1, lambda: None),
    ):
        reads.clear()
        backward()
        prepare()
        collection.step()
        assert len(reads) == num_reads
    assert float(collection.lookup.weight("one")[9].mean()) == 1.0
    reads.clear()
    backward()
    collection.step(0.5)
    assert len(reads) == 2
    twin = collect_example("full", ["one", "two"], lookup=TorchLookup, optimizer=RowWiseAdagrad(0.1))
    twin.load_state_dict(collection.state_dict())
    for each in (collection, twin):
        each(ids).square().sum().backward()
        each(ids).sum().backward()
        each.step()
    assert_close(collection.lookup.weight("two"), twin.lookup.weight("two"))
