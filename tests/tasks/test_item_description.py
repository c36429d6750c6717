"""Items described by features, texts and several values of a feature, and features predicted."""

from functools import partial

import numpy as np
import pytest
import torch
from lightning.pytorch import seed_everything
from torch.testing import assert_close

from recsys.data import Column
from recsys.losses import FullCrossEntropy, SampledSoftmax, UniformSampler
from recsys.models import ConcatFusion, M2TRec
from recsys.tables import ContentTable, FullTable, SumTable
from tests.tasks.made_items import (
    DIM,
    Items,
    adam,
    evaluation_batches,
    loader,
    make_task,
    make_trainer,
    padded,
    training_batches,
)


def vectors_of_items():
    return torch.from_numpy(np.random.default_rng(0).normal(size=(Items().num_items + 1, 5)).astype(np.float32))


def test_items_are_described_by_features_and_vectors():
    described = partial(SumTable, tables=[FullTable, partial(ContentTable, vectors=vectors_of_items())])
    task = make_task(
        item_features=["colour", "item"],
        fusion=ConcatFusion,
        tables={"default": FullTable, "items": described},
        assign={"items": ["item"]},
    )
    task.configure_model()
    weights = {name: task.collection.lookup.weight(name) for name in ("item/0", "item/1", "colour")}
    ids = torch.tensor([5, 1, 30])
    items = weights["item/0"][ids] + weights["item/1"][ids] @ task.collection.table("item").part1_projection
    side_by_side = torch.cat([weights["colour"][ids % 3], items], dim=1)
    assert_close(task.item_vectors(ids), side_by_side @ task.items.fusion.output.weight.t())


def test_a_checkpoint_of_vectors_outside_of_tables_is_refused(tmp_path):
    task = make_task()
    trainer = make_trainer(tmp_path, max_epochs=1)
    trainer.fit(task, loader(training_batches()))
    trainer.save_checkpoint(tmp_path / "plain.ckpt")
    content = torch.load(tmp_path / "plain.ckpt", weights_only=False)
    task.check_fits(content)
    content["state_dict"]["items.text.projection.weight"] = torch.zeros(DIM, 5)
    with pytest.raises(ValueError, match=r"train anew with SumTable\(tables=\[FullTable, ContentTable\]\)"):
        task.check_fits(content)


def test_items_without_events_are_learnt_from_their_metadata(tmp_path):
    """Sessions stay within a size; items 25 to 30 never occur in training, and yet their size is recommended."""
    seed_everything(0, verbose=False)
    generator = np.random.default_rng(0)

    def sessions(low, high):
        return [generator.choice([i for i in range(low, high) if i % 10 < 10], 4).tolist() for _ in range(64)]

    train = [padded(sessions(10, 20) + sessions(20, 25)) for _ in range(4)]
    task = make_task(
        model=lambda *s: M2TRec(*s, num_blocks=1, dropout=0.0),
        item_features=["colour", "size"],
        fusion=ConcatFusion,
        predict={"size": 1.0},
        optimizer=adam,
    )
    make_trainer(tmp_path, max_epochs=10).fit(task, loader(train))
    task.eval()
    with torch.no_grad():
        scores = task.scores(padded([[21, 24, 22], [11, 15, 12]]))
    unseen, other = slice(24, 29), slice(9, 19)
    assert scores[0, unseen].min() > scores[0, other].max()
    assert scores[1, unseen].max() < scores[1, other].min()


def test_heads_predict_features_of_the_next_item():
    task = make_task(predict={"colour": 0.5, "size": 2.0})
    hidden, targets = torch.randn(4, DIM), torch.tensor([4, 9, 30, 1])
    expected = 0.0
    for layer, weight, values in zip(task.heads.layers, (0.5, 2.0), (targets % 3, targets // 10), strict=True):
        for logits, value in zip(layer(hidden), values, strict=True):
            # 0 stands for a value that is not known.
            expected = expected - weight * (value > 0) * logits.log_softmax(0)[value] / 4
    assert_close(task.heads(hidden, targets, 4), expected)


class PricedItems(Items):
    """Every item also has a price, a weight, and a number that is the same for all."""

    @property
    def item_columns(self):
        names = ("price", "weight", "always")
        return (*super().item_columns, *(Column(name, "dense") for name in names))

    def item_numbers(self, name):
        ids = np.arange(self.num_items + 1)
        return {"price": 1e300 * ids**2, "weight": np.sin(ids) - 7, "always": np.full(len(ids), 3.5)}[name]


@pytest.mark.parametrize(
    "names", [["price", "item"], ["item", "weight", "price"], ["colour", "price", "size"]], ids=str
)
def test_numbers_are_standardised_projected_and_added(names):
    task = make_task(schema=PricedItems(), item_features=names)
    without = make_task(item_features=[name for name in names if name not in ("price", "weight")])
    for each in (task, without):
        each.configure_model()
    without.load_state_dict(task.state_dict(), strict=False)
    ids = torch.tensor([5, 1, 30, 7])
    columns = []
    for name in names:
        if name in ("price", "weight"):
            values = PricedItems().item_numbers(name)[1:] / 1e300 ** (name == "price")
            columns.append((values - values.mean()) / values.std())
    numbers = torch.from_numpy(np.stack(columns, axis=1)).float()[ids - 1]
    layer = task.items.numbers.projection
    assert_close(task.item_vectors(ids), without.item_vectors(ids) + numbers @ layer.weight.t() + layer.bias)
    assert task.collection.features[0].name not in ("price", "weight")


def test_a_number_that_is_the_same_for_all_says_nothing():
    task = make_task(schema=PricedItems(), item_features=["item", "always"])
    assert not task.items.numbers.given.any()


@pytest.mark.parametrize("kind", ["sampled", "full"])
def test_numbers_are_learnt_from(tmp_path, kind):
    """Cheap items follow cheap ones, and prices alone tell them apart."""
    seed_everything(0, verbose=False)

    class Cheap(PricedItems):
        def item_numbers(self, name):
            return (np.arange(self.num_items + 1) % 2).astype(np.float64)

    sessions = [np.random.default_rng(s).integers(0, 15, 5) * 2 + 1 + s % 2 for s in range(256)]
    loss = {"sampled": SampledSoftmax(UniformSampler(16)), "full": FullCrossEntropy()}[kind]
    task = make_task(schema=Cheap(), item_features=["colour", "price"], loss=loss, optimizer=adam)
    make_trainer(tmp_path, max_epochs=6).fit(task, loader([padded(sessions[i : i + 32]) for i in range(0, 256, 32)]))
    task.eval()
    with torch.no_grad():
        scores = task.scores(padded([[1, 3, 5], [2, 4, 6]]))
    assert scores[0, 0::2].min() > scores[0, 1::2].max()
    assert scores[1, 1::2].min() > scores[1, 0::2].max()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"item_features": ["price"]}, r"item_features must name a feature with ids, such as 'item'; got \['price'\]"),
        ({"item_features": []}, r"item_features must name a feature with ids, such as 'item'; got \[\]"),
        ({"item_features": ["item", "prise"]}, "'prise', which items do not have; did you mean 'price'"),
        ({"item_features": ["item", "price", "price"]}, "item_features names 'price' twice"),
        ({"predict": {"price": 1.0}}, "predict takes columns with ids; 'price' is dense"),
        ({"predict": {"size": float("nan")}}, "the weight of 'size' must be at least 0 and finite, got nan"),
    ],
)
def test_mistakes_with_numbers_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_task(schema=PricedItems(), **arguments)


class TaggedItems(Items):
    """Every item also has tags: as many as its id modulo 4, beginning with its id divided by 10."""

    @property
    def item_columns(self):
        return (*super().item_columns, Column("tags", "multi_valued", 10, "mean"))

    def tags(self, item):
        return [(item // 10 + i) % 10 for i in range(item % 4)]

    def item_bags(self, name):
        assert name == "tags"
        tags = [self.tags(item) for item in range(self.num_items + 1)]
        return np.array([tag for each in tags for tag in each]), np.array([len(each) for each in tags])


@pytest.mark.parametrize("names", [["tags"], ["tags", "item"], ["colour", "tags", "item"]], ids=str)
def test_several_values_of_an_item_are_its_mean(names):
    task = make_task(schema=TaggedItems(), item_features=names)
    task.configure_model()
    rows = {name: task.collection.lookup.weight(name) for name in names}
    ids = torch.tensor([3, 8, 1, 4, 29, 3])
    with torch.no_grad():
        found = task.item_vectors(ids)
    for item, vector in zip(ids.tolist(), found, strict=True):
        expected = torch.zeros(DIM)
        for name in names:
            tags = {"tags": TaggedItems().tags(item), "colour": [item % 3], "item": [item]}[name]
            expected += rows[name][tags].mean(0) if tags else 0
        torch.testing.assert_close(vector, expected)


def test_tags_are_trained_and_found_in_the_checkpoint(tmp_path):
    task = make_task(schema=TaggedItems(), item_features=["tags", "item"])
    trainer = make_trainer(tmp_path, max_epochs=1)
    task.configure_model()
    before = task.collection.lookup.weight("tags").clone()
    trainer.fit(task, loader(training_batches()), loader(evaluation_batches()))
    assert not torch.equal(task.collection.lookup.weight("tags"), before)
    trainer.save_checkpoint(tmp_path / "tags.ckpt")
    other = make_task(schema=TaggedItems(), item_features=["tags", "item"])
    (one,) = make_trainer(tmp_path).validate(task, loader(evaluation_batches()), verbose=False)
    (two,) = make_trainer(tmp_path).validate(
        other, loader(evaluation_batches()), ckpt_path=tmp_path / "tags.ckpt", verbose=False, weights_only=False
    )
    assert one == pytest.approx(two, nan_ok=True)


def test_tags_are_not_predicted():
    with pytest.raises(ValueError, match="predict takes columns with one value an item; 'tags' is multi-valued"):
        make_task(schema=TaggedItems(), predict={"tags": 1.0})
