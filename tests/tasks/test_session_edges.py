"""What lies at the edges of session tasks: narrow precision, divergence, small catalogues, users without history."""

import math

import pytest
import torch
from lightning.pytorch import seed_everything
from lightning.pytorch.callbacks import EarlyStopping

from recsys.data import SessionBatch, SessionDataModule
from recsys.losses import Cosine, FullCrossEntropy, SampledSoftmax, UniformSampler
from recsys.models import PISA
from recsys.tables import Adagrad, TorchLookup
from recsys.tasks import BaselineMetrics, NextItemTask, PISATask, PredictionWriter
from recsys.tasks.dense_optimizer import DenseOptimizer
from recsys.tasks.finite import LossWatch
from recsys.tasks.pisa_sessions import cut_sessions
from recsys.tasks.session_checks import out_of_reach
from tests.data.test_session_data import write_folder
from tests.tasks.made_items import (
    MAX_LENGTH,
    evaluation_batches,
    loader,
    make_task,
    make_trainer,
    sasrec,
    training_batches,
)
from tests.tasks.test_next_item import LEARNERS

PISAS = {
    "pisa": {},
    "pisa, full": {"loss": FullCrossEntropy(), "scoring": Cosine(0.1)},
    "pisa, sampled": {"loss": SampledSoftmax(UniformSampler(8)), "table_optimizer": Adagrad(0.1)},
    "pisa, memory": {"loss": FullCrossEntropy(), "memory_weight": 30.0, "memory_succession": 0.5},
}
OTHERS = {
    **LEARNERS,
    "heads": {"predict": {"colour": 1.0}},
}
TASKS = {name: (make_task, arguments) for name, arguments in OTHERS.items()}


def make_pisa(**arguments):
    arguments = {"model": lambda *sizes: PISA(*sizes, num_blocks=1), "session_gap": 150, **arguments}
    return make_task(PISATask, **arguments)


def timed(batches):
    """The same sessions with an event every 100 seconds, a longer pause after each second one."""
    for batch in batches:
        order = torch.arange(batch.items.shape[1])
        batch.times = ((order + order // 2) * 100).expand_as(batch.items) * (batch.items != 0)
    return batches


@pytest.fixture(params=[*OTHERS, *PISAS])
def made(request):
    name = request.param
    seed_everything(0, verbose=False)
    return make_pisa(**PISAS[name]) if name in PISAS else make_task(**OTHERS[name])


def test_scores_are_float32_in_bf16_mixed(made, tmp_path):
    """Training, ranking and predictions; scores take far more values than bfloat16 has between them."""
    trainer = make_trainer(tmp_path, max_epochs=1, precision="bf16-mixed", callbacks=[PredictionWriter()])
    trainer.fit(made, loader(timed(training_batches(2))), loader(timed(evaluation_batches())))
    (predicted,) = trainer.predict(made, loader(timed(evaluation_batches())))
    assert predicted["scores"].dtype == torch.float32
    assert (predicted["scores"] != predicted["scores"].bfloat16().float()).float().mean() > 0.8
    batch = timed(evaluation_batches())[0]
    made.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = made.scores(batch)
    with torch.no_grad():
        exact = made.scores(batch)
    assert found.dtype == torch.float32
    assert (found - exact).norm() < 0.05 * exact.norm()


def test_a_run_that_diverges_is_refused(made, tmp_path):
    trainer = make_trainer(tmp_path, max_epochs=9)
    made.dense_optimizer = DenseOptimizer(lambda parameters: torch.optim.SGD(parameters, lr=1e30))
    with pytest.raises(ValueError, match=r"^the training loss is (nan|inf|-inf): training has diverged"):
        trainer.fit(made, loader(timed(training_batches(8))))


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
@pytest.mark.parametrize("where", ["rows", "model"])
def test_weights_that_are_no_numbers_rank_nothing(made, tmp_path, stage, where):
    made.configure_model()
    with torch.no_grad():
        if where == "rows":
            made.collection.lookup.weight("item")[3:] = math.nan
        else:
            next(made.model.parameters()).fill_(math.nan)
    with pytest.raises(ValueError, match="scores are NaN or infinite: training has diverged, or the checkpoint"):
        getattr(make_trainer(tmp_path), stage)(made, loader(timed(evaluation_batches())))


class OnGpu:
    """A loss that notes when somebody waits for it."""

    device = torch.device("cuda")
    asked = 0

    def __init__(self, value):
        self.value = value

    def detach(self):
        return self

    def __add__(self, other):
        return OnGpu(self.value + other.value)

    def __float__(self):
        OnGpu.asked += 1
        return self.value


def test_a_gpu_is_asked_now_and_then():
    watch = LossWatch()
    for _ in range(99):
        watch(OnGpu(0.1))
    assert OnGpu.asked == 1
    with pytest.raises(ValueError, match="the training loss is nan"):
        watch(OnGpu(math.nan))


@pytest.mark.parametrize("width", [0, 1, 4])
@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_users_without_history_are_ranked_alike(made, tmp_path, width, stage):
    """A batch of nothing else, and one of them among others; what they get is the model's word on an empty session."""
    nothing = torch.zeros(3, width, dtype=torch.int64)
    targets = torch.tensor([1, 2, 3])
    batch = SessionBatch(nothing, torch.zeros(3, dtype=torch.int64), nothing, targets=targets)
    getattr(make_trainer(tmp_path), stage)(made, loader([batch]))
    made.eval()
    with torch.no_grad():
        alone = made.scores(batch)
    torch.testing.assert_close(alone, alone[:1].expand_as(alone))
    (others,) = timed(evaluation_batches())
    others.items[5], others.lengths[5], others.times[5] = 0, 0, 0
    others.host_lengths = others.lengths.clone()
    with torch.no_grad():
        torch.testing.assert_close(made.scores(others)[5], alone[0], rtol=1e-4, atol=1e-5)


def test_a_user_with_more_sessions_than_the_model_reads_keeps_the_latest(tmp_path):
    seed_everything(0, verbose=False)
    task = make_pisa(max_length=3)
    task.configure_model()
    task.eval()
    items = torch.tensor([[5, 6, 7, 8, 9, 10, 11], [1, 2, 3, 0, 0, 0, 0]])
    times = torch.tensor([[0, 10, 500, 1000, 1010, 1500, 1510], [0, 300, 310, 0, 0, 0, 0]])
    whole = SessionBatch(items, torch.tensor([7, 3]), times)
    latest = SessionBatch(
        torch.tensor([[7, 8, 9, 10, 11], [1, 2, 3, 0, 0]]),
        torch.tensor([5, 3]),
        torch.tensor([[500, 1000, 1010, 1500, 1510], [0, 300, 310, 0, 0]]),
    )
    with torch.no_grad():
        torch.testing.assert_close(task.scores(whole), task.scores(latest))
    task.log = lambda *_, **__: None
    torch.manual_seed(0)
    expected = task.training_step(latest, 0)
    torch.manual_seed(0)
    torch.testing.assert_close(task.training_step(whole, 0), expected)


@pytest.fixture
def folder(tmp_path):
    """Six items; half of the users have had their target, and the sixth item is never trained on."""
    train = [(user, [1 + (user + k) % 5 for k in range(9)], 0) for user in range(8)]
    held_out = [(user, items[-2:], items[-1] if user % 2 else 6) for user, items, _ in train]
    return write_folder(tmp_path / "made", {"train": train, "val": held_out, "test": held_out}, num_items=6)


@pytest.mark.parametrize("kind", [NextItemTask, PISATask])
def test_a_catalogue_smaller_than_a_list(folder, tmp_path, kind, capsys):
    data = SessionDataModule(folder, batch_size=4, max_length=MAX_LENGTH)
    model = sasrec if kind is NextItemTask else PISA
    task = kind(model, data.schema, 8, MAX_LENGTH, lookup=TorchLookup)
    trainer = make_trainer(tmp_path, max_epochs=1, callbacks=[BaselineMetrics(), PredictionWriter()])
    trainer.fit(task, data)
    trainer.test(task, data, verbose=False)
    (predicted, *_) = trainer.predict(task, data)
    assert predicted["items"].shape[1] == 6
    assert "coverage@6" in capsys.readouterr().out


def said(folder, kind=NextItemTask, item_features=None, **settings):
    """What is said before training, and whether seen items are left out."""
    data = SessionDataModule(folder, batch_size=4, max_length=MAX_LENGTH, **settings)
    more = {} if item_features is None else {"item_features": item_features}
    model = sasrec if kind is NextItemTask else PISA
    task = kind(model, data.schema, 8, MAX_LENGTH, lookup=TorchLookup, **more)
    trainer = make_trainer(data.schema.path.parent, max_epochs=1)
    trainer.fit(task, data)
    return out_of_reach(task.needs(), data), data.filter_seen


def test_what_no_ranking_can_reach_is_said_before_training(folder, capsys):
    sentences, filters = said(folder)
    assert filters
    assert sentences[0].startswith("filter_seen: 50.0% of val's targets are in their own history and count as missed")
    assert sentences[1].startswith("items: 50.0% of val's targets are items without a training event, whose own rows")
    assert len(sentences) == 2
    assert all(sentence in capsys.readouterr().out for sentence in sentences[:1])
    sentences, filters = said(folder, PISATask)
    assert not filters, "a model of repeats recommends them"
    assert [sentence.split(":")[0] for sentence in sentences] == ["items"]
    assert said(folder, PISATask, filter_seen=True)[1]
    assert not said(folder, filter_seen=False)[1]
    assert said(folder, item_features=["colour"], filter_seen=False) == ([], False)
    sentences, _ = said(folder, filter_seen=False, item_features=["colour"], max_windows=1)
    assert sentences == [
        "windows: 25.0% of the training events that follow another are no target of any window; a stride below "
        "train_length=7 and no max_windows reach them all"
    ]


@pytest.mark.parametrize("max_length", [1, 2, 3, 4, 5])
def test_sessions_that_pisa_does_not_read_are_counted(tmp_path, max_length):
    """Users of one to nine events, a session of every two of them; windows of six events."""
    rows = [(user, list(range(1, user + 2)), 1) for user in range(9)]
    splits = {"train": rows, "val": rows, "test": rows}
    folder = write_folder(tmp_path / "made", splits, time_of=lambda k: 100 * k + 500 * (k // 2))
    data = SessionDataModule(folder, max_length=5, train_length=6, stride=6, filter_seen=False)
    task = PISATask(PISA, data.schema, 8, max_length, session_gap=150, lookup=TorchLookup)
    num_unread = num_events = 0
    for batch in data.train_dataloader():
        read = cut_sessions(batch, 150, 10, max_length)
        num_events += int((batch.items != 0).sum())
        num_unread += int((batch.items != 0).sum() - (read.items != 0).sum())
    sentences = [each for each in out_of_reach(task.needs(), data) if each.startswith("sessions")]
    assert bool(num_unread) == (max_length < 4)
    assert [f"{num_unread / num_events:.1%}" in each for each in sentences] == [True] * bool(num_unread)


@pytest.mark.parametrize("max_steps", [1, 3, 20])
def test_early_stopping_looks_after_validations(tmp_path, max_steps):
    """A run that ends before its first validation ends well; one that has them stops as ever."""
    stopping = EarlyStopping("val/ndcg@10", mode="max", patience=1)
    trainer = make_trainer(tmp_path, max_steps=max_steps, callbacks=[stopping])
    trainer.fit(make_task(), loader(training_batches(8)), loader(evaluation_batches()))
    assert trainer.global_step == max_steps
    stopping = EarlyStopping("val/ndcg@10", mode="max", patience=1)
    trainer = make_trainer(tmp_path, max_epochs=99, callbacks=[stopping])
    trainer.fit(make_task(), loader(training_batches(1)), loader(evaluation_batches()))
    assert 1 < trainer.current_epoch < 99


def test_early_stopping_looks_when_it_is_told_to(tmp_path):
    stopping = EarlyStopping("val/ndcg@10", mode="max", check_on_train_epoch_end=True)
    trainer = make_trainer(tmp_path, max_steps=3, callbacks=[stopping])
    with pytest.raises(RuntimeError, match="which is not available"):
        trainer.fit(make_task(), loader(training_batches(8)), loader(evaluation_batches()))
