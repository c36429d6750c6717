"""The next-item task: it learns, ranks as a slow loop does, updates each row once a step and keeps no item matrix."""

import gc

import pyarrow.parquet as pq
import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from torch.testing import assert_close

from recsys.data import SessionBatch
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
from recsys.models import HSTU, BERT4Rec, GRU4Rec
from recsys.tables import (
    SGD,
    Adagrad,
    Bag,
    DenseGradient,
    FbgemmLookup,
    FullTable,
    HashTable,
    QRTable,
    RowWiseAdagrad,
    TorchLookup,
)
from recsys.tables.lookups.gradients import SENTINEL
from recsys.tasks import MaskedItems, PredictionWriter
from tests.tasks.made_items import (
    DIM,
    NUM_ITEMS,
    Items,
    adam,
    evaluation_batches,
    loader,
    make_task,
    make_trainer,
    training_batches,
)

LEARNERS = {
    "full": {},
    "full in chunks": {"loss": FullCrossEntropy(7)},
    "rows in backward": {"table_optimizer": Adagrad(0.2)},
    "cosine": {"scoring": Cosine(0.1)},
    "sampled softmax": {"loss": SampledSoftmax(UniformSampler(20)), "table_optimizer": RowWiseAdagrad(0.2)},
    "gbce": {"loss": GBCE(UniformSampler(8))},
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
    assert all((parameter.grad.abs() <= SENTINEL).all() for parameter in task.parameters())
    task.collection.step()
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
    assert task._item_scores is None
    written = pq.read_table(tmp_path / "predictions.parquet")
    assert written["items"].to_pylist() == predicted["items"].tolist()
    with torch.no_grad():
        scores = task.scores(evaluation_batches()[0])
    assert_close(predicted["scores"], scores.sort(1, descending=True).values[:, :4])
    assert_close(scores.gather(1, predicted["items"] - 1), predicted["scores"])
    assert written["target"].to_pylist() == evaluation_batches()[0].targets.tolist()


def test_items_not_to_be_recommended_are_not_predicted(tmp_path):
    """A session that has seen all items but two gets these two, and nothing after them."""
    (batch,) = evaluation_batches()
    seen = torch.arange(1, NUM_ITEMS - 1).repeat(len(batch))
    batch.seen = Bag(seen, torch.full((len(batch),), NUM_ITEMS - 2))
    trainer = make_trainer(tmp_path)
    (predicted,) = trainer.predict(make_task(num_predictions=4), loader([batch]))
    assert predicted["items"][:, :2].sort(1).values.tolist() == [[NUM_ITEMS - 1, NUM_ITEMS]] * len(batch)
    assert not predicted["items"][:, 2:].any()


def test_scores_are_those_of_the_weights_at_hand():
    task, other = make_task(), make_task()
    for each in (task, other):
        each.configure_model()
    (batch,) = evaluation_batches()
    with torch.no_grad():
        before = task.scores(batch)
        task.load_state_dict(other.state_dict())
        assert not torch.allclose(task.scores(batch), before)
        assert_close(task.scores(batch), other.scores(batch))


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


def test_the_catalogue_lists_its_items():
    assert Catalogue(3).ids(torch.device("cpu")).tolist() == [1, 2, 3]
