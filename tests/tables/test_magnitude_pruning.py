"""Pruning by magnitude while training: schedules, gradients of what is zero, and which optimizers let it act."""

import pytest
import torch
from torch.testing import assert_close

from recsys.tables import (
    SGD,
    DeepLightTable,
    DenseGradient,
    Embedding,
    Feature,
    Frozen,
    GradualPruningTable,
    OptEmbedTable,
    TableCollection,
)


@pytest.mark.parametrize(("arguments", "damping"), [({}, 0.99), ({"damping": 0.9}, 0.9)])
def test_deeplight_prunes_the_smallest_values_as_far_as_its_schedule(arguments, damping):
    table = DeepLightTable("f", 50, 4, pruned_fraction=0.8, prune_every=3, prune_from=2, **arguments)
    collection = TableCollection([Feature("f", "f")], {"f": table}, optimizer=SGD(0.0))
    before = collection.lookup.weight("f").clone()
    zeros = []
    for _ in range(8):
        collection(torch.zeros(1, 1, dtype=torch.long))
        zeros.append(int((collection.lookup.weight("f") == 0).sum()))
    assert zeros[:4] == [0, 0, 0, 0]
    assert zeros[4:] == [int(200 * 0.8 * (1 - damping ** (step / 100))) for step in (3, 3, 3, 6)]
    table.get_buffer("num_steps").fill_(2 + 3 * 400 - 1)
    collection(torch.zeros(1, 1, dtype=torch.long))
    after = collection.lookup.weight("f")
    assert int((after == 0).sum()) == int(200 * 0.8 * (1 - damping**12)) > 10
    assert float(before[after != 0].abs().min()) > float(before[after == 0].abs().max())
    assert torch.equal(after[after != 0], before[after != 0])
    collection.eval()(torch.zeros(1, 1, dtype=torch.long))
    assert int(table.get_buffer("num_steps")) == 2 + 3 * 400, "evaluation is no step"


def test_gradual_pruning_follows_a_cubic_schedule():
    table = GradualPruningTable("f", 50, 4, pruned_fraction=0.8, num_pruning_steps=10, prune_every=3, prune_from=2)
    collection = TableCollection([Feature("f", "f")], {"f": table}, optimizer=SGD(0.0))
    zeros = []
    for _ in range(16):
        collection(torch.zeros(1, 1, dtype=torch.long))
        zeros.append(int((collection.lookup.weight("f") == 0).sum()))
    parts = [0.0] * 4 + [0.3] * 3 + [0.6] * 3 + [0.9] * 3 + [1.0] * 3
    assert zeros == [int(200 * (0.8 * (1 - (1 - part) ** 3))) for part in parts]


def test_gradual_pruning_gives_no_gradient_to_what_is_zero():
    embedding = Embedding(GradualPruningTable("f", 50, 4))
    ids, weights = torch.tensor([3, 7, 3]), torch.randn(3, 4)
    with torch.no_grad():
        embedding.weights[0][3, :2] = 0
    (embedding(ids) * weights).sum().backward()
    expected = torch.zeros(50, 4)
    expected[3, 2:], expected[7] = (weights[0] + weights[2])[2:], weights[1]
    assert torch.equal(embedding.weights[0].grad, expected)


@pytest.mark.parametrize("optimizer", [SGD(0.0), DenseGradient(), Frozen()], ids=["sgd", "dense", "frozen"])
def test_rows_of_every_optimizer_that_trains_are_pruned_and_decay(optimizer):
    trains, ids = not isinstance(optimizer, Frozen), torch.zeros(2, 1, dtype=torch.long)
    tables = {
        "pruned": GradualPruningTable("pruned", 50, 4, num_pruning_steps=1, prune_every=1),
        "decayed": OptEmbedTable("decayed", 50, 4, row_decay=0.5, samples_widths=False),
    }
    collection = TableCollection([Feature(name, name) for name in tables], tables, optimizer=optimizer)
    before = {name: collection.lookup.weight(name).detach().clone() for name in tables}
    collection(ids)
    collection.end_epoch()
    pruned, decayed = (collection.lookup.weight(name).detach() for name in tables)
    assert int((pruned == 0).sum()) == (180 if trains else 0)
    assert_close(decayed, before["decayed"] * (0.5 if trains else 1.0))
