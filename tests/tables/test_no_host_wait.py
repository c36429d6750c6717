"""A step asks no device for a number: on the meta device, where there are none, every such question is an error."""

import pytest
import torch
from contract import EXAMPLES, collect, spread
from torch import nn

from recsys.tables import SGD, Adagrad, Adam, Bag, DenseGradient, RowWiseAdagrad, Table, TorchLookup

OPTIMIZERS = [SGD(0.1), Adagrad(0.1), RowWiseAdagrad(0.1), Adam(0.1), DenseGradient()]
WAITS = {example for example, (kind, _) in EXAMPLES.items() if kind.observe is not Table.observe}
"""Examples whose mapping, once an interval, is made where its size must be known."""


@pytest.mark.parametrize(
    ("example", "optimizer", "clip_rows"),
    [each for each in spread(OPTIMIZERS, [False, True]) if each[0] not in WAITS],
    ids=str,
)
def test_a_step_waits_for_no_device(example, optimizer, clip_rows):
    if EXAMPLES[example][0].moves_rows and isinstance(optimizer, DenseGradient):
        pytest.skip("rows with dense gradients are refused")
    settings = {"lookup": TorchLookup, "optimizer": optimizer, "clip_rows": clip_rows}
    poolings = {"bag": "sum", "mean": "mean"}
    collection = collect(example, ["one", "two", "bag", "mean"], poolings, **settings).to("meta")
    collection.lookup = collect(example, ["one", "two", "bag", "mean"], poolings, **settings, device="meta").lookup
    head = nn.Linear(collection.embedding_dim, 1, device="meta")
    dense = torch.optim.Adam([*collection.parameters(), *head.parameters()])
    ids = torch.zeros(2, 5, dtype=torch.int64, device="meta")
    bag = Bag(torch.zeros(9, dtype=torch.int64, device="meta"), torch.zeros(5, dtype=torch.int64, device="meta"))
    for _ in range(2):
        head(collection(ids, {"bag": bag, "mean": bag})).sum().backward()
        nn.utils.clip_grad_norm_(collection.parameters(), 1.0)
        dense.step()
        dense.zero_grad()


def test_the_question_is_noticed():
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.zeros(3, device="meta").nonzero()
    with pytest.raises((RuntimeError, NotImplementedError)):
        float(torch.zeros((), device="meta"))
