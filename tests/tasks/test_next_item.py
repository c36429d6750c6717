"""The next-item task: it learns, ranks as a slow loop does, updates each row once a step and keeps no item matrix."""

import gc
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from torch.testing import assert_close
from torch.utils.data import DataLoader

from recsys.data import Column, SessionBatch
from recsys.losses import (
    GBCE,
    BinaryCrossEntropy,
    Cosine,
    DotProduct,
    FullCrossEntropy,
    SampledSoftmax,
    UniformSampler,
)
from recsys.losses.base import Catalogue
from recsys.losses.samplers import Sampler
from recsys.models import HSTU, BERT4Rec, ConcatFusion, GRU4Rec, M2TRec, SASRec
from recsys.tables import (
    SGD,
    Adagrad,
    DenseGradient,
    FbgemmLookup,
    FullTable,
    HashTable,
    QRTable,
    RowWiseAdagrad,
    TorchLookup,
)
from recsys.tasks import MaskedItems, NextItem, NextItemTask, PredictionWriter

NUM_ITEMS, DIM, MAX_LENGTH = 30, 8, 6


@dataclass(frozen=True)
class Items:
    """Stands in for a schema: every item has a colour, its id modulo 3, and a size, its id divided by 10."""

    num_items: int = NUM_ITEMS

    @property
    def item_columns(self):
        return (Column("colour", "categorical", 3), Column("size", "categorical", self.num_items // 10 + 1))

    def item_values(self, name):
        ids = np.arange(self.num_items + 1)
        return ids % 3 if name == "colour" else ids // 10

    def item_counts(self):
        return np.ones(self.num_items + 1, np.int64)

    def item_vectors(self, name):
        return np.random.default_rng(0).normal(size=(self.num_items + 1, 5)).astype(np.float32)


def padded(sessions, **more):
    lengths = torch.tensor([len(session) for session in sessions])
    items = torch.zeros(len(sessions), max(1, int(lengths.max())), dtype=torch.int64)
    for row, session in enumerate(sessions):
        items[row, : len(session)] = torch.tensor(session, dtype=torch.int64)
    return SessionBatch(items, lengths, **more)


def cyclic_sessions(number, seed=0, length=MAX_LENGTH):
    """Each item is followed by the next, and the last by the first."""
    generator = np.random.default_rng(seed)
    starts, lengths = generator.integers(0, NUM_ITEMS, number), generator.integers(2, length + 1, number)
    return [[(start + i) % NUM_ITEMS + 1 for i in range(n)] for start, n in zip(starts, lengths, strict=True)]


def training_batches(number=8, size=32, length=MAX_LENGTH):
    return [padded(cyclic_sessions(size, seed, length)) for seed in range(number)]


def evaluation_batches():
    sessions = cyclic_sessions(64, seed=99)
    return [padded([s[:-1] for s in sessions], targets=torch.tensor([s[-1] for s in sessions]))]


def loader(batches):
    return DataLoader(batches, batch_size=None)


def sasrec(*sizes):
    return SASRec(*sizes, num_blocks=1, dropout=0.0)


def make_task(**arguments):
    arguments = {"model": sasrec, "embedding_dim": DIM, "max_length": MAX_LENGTH, "lookup": TorchLookup, **arguments}
    return NextItemTask(**{"schema": Items(), **arguments})


def make_trainer(folder, **arguments):
    quiet = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    settings = {"default_root_dir": folder, "accelerator": "cpu", **dict.fromkeys(quiet, False), **arguments}
    return Trainer(**settings)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.02)


LEARNERS = {
    "full": {},
    "full in chunks": {"loss": FullCrossEntropy(7)},
    "rows in backward": {"table_optimizer": Adagrad(0.2)},
    "cosine": {"scoring": Cosine(0.1)},
    "sampled softmax": {"loss": SampledSoftmax(UniformSampler(20)), "table_optimizer": RowWiseAdagrad(0.2)},
    "gbce": {"loss": GBCE(UniformSampler(20))},
    "bce": {"loss": BinaryCrossEntropy(UniformSampler(5, per_target=True))},
    "gru": {"model": lambda *s: GRU4Rec(*s, dropout=0.0)},
    "hstu": {"model": lambda *s: HSTU(*s, dropout=0.0)},
    "bert": {"model": lambda *s: BERT4Rec(*s, dropout=0.0), "objective": MaskedItems(0.2, 0.5)},
    "hashed": {"tables": {"default": lambda n, v, d: HashTable(n, v, d, num_rows=200)}},
}


@pytest.mark.parametrize("arguments", LEARNERS.values(), ids=LEARNERS.keys())
def test_it_learns_what_follows_what(tmp_path, arguments):
    seed_everything(0, verbose=False)
    task = make_task(optimizer=adam, **arguments)
    trainer = make_trainer(tmp_path, max_epochs=25)
    trainer.fit(task, loader(training_batches()), loader(evaluation_batches()))
    assert trainer.callback_metrics["val/ndcg@10"] > 0.6
    (metrics,) = trainer.test(task, loader(evaluation_batches()), verbose=False)
    assert metrics["test/hr@5"] > 0.8, metrics


class Given(Sampler):
    def draw(self, targets, catalogue):
        return torch.tensor([3, 9, 3, 20])

    def log_probability(self, ids, catalogue):
        return torch.zeros(ids.shape)


@pytest.mark.parametrize("loss", [FullCrossEntropy(), SampledSoftmax(Given()), GBCE(Given())], ids=type)
@pytest.mark.parametrize("table", [FullTable, QRTable], ids=lambda t: t.__name__)
@pytest.mark.parametrize("kind", [TorchLookup, FbgemmLookup], ids=lambda t: t.__name__)
def test_one_step_in_the_backward_pass_equals_a_dense_step(tmp_path, loss, table, kind):
    """Rows read as inputs, as targets and as negatives get one update, with the sum of their gradients."""
    weights = []
    for rows in (SGD(0.5), DenseGradient(0.5)):
        seed_everything(0, verbose=False)
        task = make_task(
            loss=loss,
            table_optimizer=rows,
            lookup=kind,
            tables={"default": table},
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        )
        make_trainer(tmp_path, max_steps=2).fit(task, loader(training_batches(2)))
        lookup = task.collection.lookup
        weights.append([lookup.weight(name).clone() for name in lookup.tables] + [*task.model.parameters()])
        if isinstance(rows, SGD) and kind is TorchLookup:
            assert {store.num_steps for store in lookup.stores} == {2}
    assert_close(weights[0], weights[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [0, 1])
@pytest.mark.parametrize("arguments", LEARNERS.values(), ids=LEARNERS.keys())
def test_a_batch_without_sessions_moves_nothing(arguments, width):
    """Of several processes one may have none; its parameters must still take part in the step."""
    task = make_task(**arguments)
    task.configure_model()
    task.log = lambda *_, **__: None
    rows = {name: task.collection.lookup.weight(name).clone() for name in task.collection.lookup.tables}
    nobody = torch.empty(0, dtype=torch.int64)
    batch = SessionBatch(torch.empty(0, width, dtype=torch.int64), nobody, targets=nobody)
    loss = task.training_step(batch, 0)
    loss.backward()
    assert loss == 0
    assert all((parameter.grad == 0).all() for parameter in task.parameters())
    assert all(torch.equal(task.collection.lookup.weight(name), values) for name, values in rows.items())
    task.eval()
    with torch.no_grad():
        assert task.scores(batch).shape == (0, NUM_ITEMS)
        task.validation_step(batch, 0)


def slow_ranks(task, batch):
    """One session, one item at a time."""
    vectors = [task.item_vectors(torch.tensor([item]))[0] for item in range(1, NUM_ITEMS + 1)]
    ranks, seen = [], [] if batch.seen is None else batch.seen.values.split(batch.seen.lengths.tolist())
    for row, target in enumerate(batch.targets.tolist()):
        session = batch.items[row, : batch.lengths[row]]
        inputs = torch.stack([vectors[item - 1] for item in session.tolist()]).unsqueeze(0)
        state = task.model(inputs, torch.tensor([len(session)]))[0, -1]
        query = task.scoring.queries(state)
        scores = [float(query @ task.scoring.items(vector)) for vector in vectors]
        forbidden = set(seen[row].tolist()) if seen else set()
        above = [i for i, s in enumerate(scores, 1) if s >= scores[target - 1] and i not in forbidden | {target}]
        ranks.append(1 + len(above))
    return ranks


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("scoring", [DotProduct(), Cosine()], ids=["dot", "cosine"])
def test_ranks_equal_the_slow_loop(tmp_path, chunk, scoring):
    from recsys.tables import Bag

    task = make_task(eval_chunk_items=chunk, scoring=scoring, tables={"default": QRTable})
    task.configure_model()
    task.eval()
    (batch,) = evaluation_batches()
    seen = [[i for i in row.tolist() if i] for row in batch.items]
    values = torch.tensor([item for row in seen for item in row])
    for batch.seen in (None, Bag(values, torch.tensor([len(row) for row in seen]))):
        task._metrics.reset()
        with torch.no_grad():
            task.validation_step(batch, 0)
            assert task._metrics._ranks[0].tolist() == slow_ranks(task, batch)


def test_equal_scores_are_counted_against_the_model(tmp_path):
    task = make_task(tables={"default": lambda n, v, d: HashTable(n, v, d, num_rows=1)})
    trainer = make_trainer(tmp_path)
    (metrics,) = trainer.test(task, loader(evaluation_batches()), verbose=False)
    assert metrics["test/hr@20"] == 0


def test_predictions_are_the_best_items_in_order(tmp_path):
    task = make_task(num_predictions=4)
    trainer = make_trainer(tmp_path, callbacks=[PredictionWriter()])
    (predicted,) = trainer.predict(task, loader(evaluation_batches()))
    assert task._item_matrix is None
    written = pq.read_table(tmp_path / "predictions.parquet")
    assert written["items"].to_pylist() == predicted["items"].tolist()
    with torch.no_grad():
        scores = task.scores(evaluation_batches()[0])
    assert_close(predicted["scores"], scores.sort(1, descending=True).values[:, :4])
    assert_close(scores.gather(1, predicted["items"] - 1), predicted["scores"])


def test_a_compressed_table_leaves_no_item_matrix_behind(tmp_path):
    """After a step and after validation, nothing as large as all item vectors is alive."""
    num_items = 4001
    task = make_task(
        schema=Items(num_items),
        loss=FullCrossEntropy(500),
        tables={"default": lambda n, v, d: HashTable(n, v, d, num_rows=50)},
        eval_chunk_items=500,
    )

    def tensors():
        gc.collect()
        return [x for x in gc.get_objects() if isinstance(x, torch.Tensor) and x.is_floating_point()]

    others = {id(x) for x in tensors()}

    def large():
        return [tuple(x.shape) for x in tensors() if x.numel() >= num_items * DIM and id(x) not in others]

    class Watch(Callback):
        def on_train_batch_end(self, *_):
            sizes.append(large())

    sizes = []
    trainer = make_trainer(tmp_path, max_epochs=1, callbacks=[Watch()])
    trainer.fit(task, loader(training_batches(2)), loader(evaluation_batches()))
    assert sizes == [[], []]
    assert large() == []


def test_next_item_examples_are_the_shifted_sessions():
    batch = padded([[1, 2, 3], [4], [5, 6]], times=torch.arange(9).view(3, 3))
    examples = NextItem().training(batch, 6)
    assert examples.items.tolist() == [[1, 2], [0, 0], [5, 0]]
    assert examples.lengths.tolist() == [2, 0, 1]
    assert examples.positions.tolist() == [0, 1, 4]
    assert examples.targets.tolist() == [2, 3, 6]
    assert examples.times.tolist() == [[0, 1], [3, 4], [6, 7]]
    evaluation = NextItem().evaluation(batch, 6)
    assert evaluation.positions.tolist() == [2, 3, 7]


def test_masked_examples_hide_events_and_name_them():
    torch.manual_seed(0)
    batch = padded(cyclic_sessions(500, length=9))
    examples = MaskedItems(0.3, last_only_fraction=0.2).training(batch, 9)
    hidden = examples.masked
    is_event = batch.items != 0
    assert not (hidden & ~is_event).any()
    assert hidden.any(1).all(), "every session has something to tell"
    assert_close(batch.items[hidden], examples.targets)
    assert (examples.items[hidden] == 0).all()
    assert_close(examples.items[~hidden], batch.items[~hidden])
    assert_close(batch.items.reshape(-1)[examples.positions], examples.targets)
    long = batch.lengths >= 6
    last = hidden.gather(1, (batch.lengths - 1).unsqueeze(1))[:, 0]
    assert 0.2 + 0.8 * 0.3 == pytest.approx(last[long].float().mean().item(), abs=0.08)


def test_masked_evaluation_appends_a_hidden_event_and_drops_the_first_of_a_full_session():
    batch = padded([[1, 2, 3], [4], [5, 6]], times=torch.tensor([[10, 20, 30], [40, 0, 0], [50, 60, 0]]))
    roomy = MaskedItems().evaluation(batch, 5)
    assert roomy.items.tolist() == [[1, 2, 3, 0], [4, 0, 0, 0], [5, 6, 0, 0]]
    assert roomy.lengths.tolist() == [4, 2, 3]
    assert roomy.positions.tolist() == [3, 5, 10]
    full = MaskedItems().evaluation(batch, 3)
    assert full.items.tolist() == [[2, 3, 0], [4, 0, 0], [5, 6, 0]]
    assert full.lengths.tolist() == [3, 2, 3]
    assert full.times.tolist()[0] == [20, 30, 30]
    assert full.times.tolist()[2] == [50, 60, 60]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schema": None}, "NextItemTask: schema is missing"),
        ({"model": BERT4Rec}, "NextItem: BERT4Rec sees later events and would copy them; use MaskedItems"),
        ({"objective": MaskedItems()}, "MaskedItems: SASRec does not see later events; use NextItem"),
        ({"eval_chunk_items": 0}, "eval_chunk_items must be at least 1, got 0"),
        ({"item_features": ["color"]}, "names 'color', which items do not have; did you mean 'colour'"),
        ({"predict": {"sise": 1.0}}, "predict names 'sise', which items do not have; did you mean 'size'"),
        ({"predict": {"size": -1.0}}, "weight of 'size' must be at least 0, got -1.0"),
        ({"warmup_steps": -1}, "NextItemTask: warmup_steps must be at least 0, got -1"),
        ({"tables": {"a": FullTable}}, r"features \['item'\] have no table"),
    ],
)
def test_a_mistake_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_task(**arguments)


@pytest.mark.parametrize("arguments", [{"mask_fraction": 0.0}, {"last_only_fraction": 1.1}])
def test_masked_items_checks_its_fractions(arguments):
    with pytest.raises(ValueError, match=r"MaskedItems: .* must be in"):
        MaskedItems(**arguments)


def test_the_catalogue_lists_its_items():
    assert Catalogue(3).ids(torch.device("cpu")).tolist() == [1, 2, 3]


def test_items_are_described_by_features_and_text():
    task = make_task(item_features=["colour", "item"], fusion=ConcatFusion, text="text")
    task.configure_model()
    weights = {name: task.collection.lookup.weight(name) for name in ("item", "colour")}
    ids = torch.tensor([5, 1, 30])
    side_by_side = torch.cat([weights["colour"][ids % 3], weights["item"][ids]], dim=1)
    expected = side_by_side @ task.items.fusion.output.weight.t()
    expected = expected + task.items.text_projection(torch.from_numpy(Items().item_vectors("text"))[ids])
    assert_close(task.item_vectors(ids), expected)


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
        expected = expected + weight * torch.nn.functional.cross_entropy(layer(hidden), values)
    assert_close(task.heads(hidden, targets, 4), expected)


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
