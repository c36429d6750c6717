"""Semantic ids, content and ids beside each other in both kinds of task, and items that no training event has."""

from functools import partial

import pytest
import torch

from recsys.data import Column
from recsys.data.batch import Batch
from recsys.data.schema import Schema
from recsys.losses import FullCrossEntropy
from recsys.models import DCNv2
from recsys.tables import (
    Adam,
    ContentTable,
    DenseGradient,
    FullTable,
    GateTable,
    NGrams,
    SemanticIdTable,
    SumTable,
    TorchLookup,
)
from recsys.tasks import CTRTask
from tests.tasks.made_items import (
    NUM_ITEMS,
    evaluation_batches,
    loader,
    make_task,
    make_trainer,
    padded,
    training_batches,
)

# Items 10 apart are of one kind: the next item of all of them is of the next kind.
PLACES = (torch.arange(NUM_ITEMS + 1) - 1) % 10
CODES = torch.stack([PLACES, PLACES * 0])
CODES[:, 0] = -1
SEMANTIC = partial(SemanticIdTable, codes=CODES, adaptation=NGrams(1))
CONTENT = partial(ContentTable, vectors=torch.cat([torch.zeros(1, 10), torch.eye(10)[PLACES[1:]]]))
WORDS = {
    "id": FullTable,
    "content": CONTENT,
    "id + content": partial(SumTable, tables=[FullTable, CONTENT]),
    "semantic id": SEMANTIC,
    "id + semantic id": partial(GateTable, tables=[FullTable, SEMANTIC]),
}


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("optimizer", [DenseGradient(), Adam(0.02)], ids=str)
def test_a_next_item_task_learns_with_each(word, optimizer, tmp_path):
    torch.manual_seed(0)
    task = make_task(
        tables={"default": WORDS[word]},
        table_optimizer=optimizer,
        loss=FullCrossEntropy(),
        optimizer=partial(torch.optim.Adam, lr=0.02),
    )
    trainer = make_trainer(tmp_path, max_epochs=12)
    trainer.fit(task, loader(training_batches()), loader(evaluation_batches()))
    # Content and codes tell ten kinds apart, three items each, and ties count against the target: never first.
    found = trainer.callback_metrics["val/hr@10"].item()
    assert found > 0.9


def test_items_never_trained_are_scored_like_those_of_their_kind():
    torch.manual_seed(0)
    task = make_task(tables={"default": SEMANTIC})
    task.configure_model()
    task.eval()
    with torch.no_grad():
        scores = task.scores(padded([[1, 2], [5]]))
    for kind in range(10):
        assert len(scores[0, kind::10].unique()) == 1
    assert len(scores[0].unique()) == 10


def shop_batch(items, labels):
    size = len(items)
    ids = torch.stack([torch.as_tensor(items), torch.arange(size) % 4])
    return Batch(labels=torch.as_tensor(labels), ids=ids, dense=torch.zeros(size, 0), bags={})


@pytest.mark.parametrize("word", WORDS)
def test_a_click_task_learns_with_each_and_knows_new_items_by_their_codes(word, tmp_path):
    schema = Schema(
        tmp_path,
        "shop",
        "label",
        (Column("item", "categorical", NUM_ITEMS + 1), Column("user", "categorical", 4)),
        {},
    )
    torch.manual_seed(0)
    task = CTRTask(
        model=partial(DCNv2, num_cross_layers=1, hidden_dims=[16]),
        schema=schema,
        embedding_dim=8,
        tables={"default": FullTable, "items": WORDS[word]},
        assign={"items": ["item"]},
        table_optimizer=DenseGradient(),
        optimizer=partial(torch.optim.Adam, lr=0.02),
        lookup=TorchLookup,
    )
    # The last ten items are in no training row; whether an item is clicked is a matter of its kind.
    items = torch.randint(1, 21, (4_000,), generator=torch.Generator().manual_seed(1))
    batches = [shop_batch(part, (PLACES[part] < 5).float()) for part in items.split(100)]
    trainer = make_trainer(tmp_path, max_epochs=3)
    trainer.fit(task, loader(batches))
    new = torch.arange(21, 31)
    with torch.no_grad():
        probabilities = task.eval()(shop_batch(new, torch.zeros(10))).sigmoid()
    right = ((probabilities > 0.5) == (PLACES[new] < 5)).float().mean().item()
    assert right == 1.0 or word.startswith("id")
