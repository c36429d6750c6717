"""The pipelined step: what is done ahead, and in which order."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from recsys.data import CTRDataModule
from recsys.data.batch import Batch
from recsys.models import DeepFM
from recsys.sharding.pipeline import InputPipeline, Lookahead, why_plain
from recsys.sharding.strategy import TorchrecStrategy
from recsys.tables.lookups.started import InputDistribution, StartedLookup
from recsys.tables.routed import Routed, StartedBatch
from recsys.tasks import CTRTask


class Loader:
    sampler = "its sampler"

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


class Steps(InputDistribution):
    def __init__(self):
        self.taken = []

    def advance(self):
        self.taken.append("advance")

    def finish(self):
        self.taken.append("finish")

    def record_stream(self, stream):
        raise AssertionError("there is no stream on a CPU")


def batch_of(number):
    return Batch(torch.full((1, 2), number), {}, torch.zeros(2, 0), None)


def test_a_loader_read_ahead_yields_the_same_batches_and_tells_the_next():
    batches = [batch_of(number) for number in range(3)]
    loader = Lookahead(Loader(batches))
    for epoch in range(2):
        seen = [(batch, loader.position, loader.following) for batch in loader]
        first = 3 * epoch
        assert seen == [
            (batches[0], first + 1, batches[1]),
            (batches[1], first + 2, batches[2]),
            (batches[2], first + 3, None),
        ]
    assert len(loader) == 3
    assert list(Lookahead(Loader([]))) == []


def test_in_everything_else_it_is_the_loader():
    inner = Loader([])
    loader = Lookahead(inner)
    assert loader.sampler == "its sampler"
    assert not hasattr(loader, "batch_sampler")
    loader.worker_init_fn = len
    assert inner.worker_init_fn is len


def test_a_batch_takes_its_steps_in_order_and_is_taken_once():
    steps, moved = Steps(), []

    def start(batch):
        batch.started = StartedBatch(None, [], Routed([], [], []), StartedLookup([None, steps]))
        return batch

    def move(batch):
        moved.append(batch)
        return batch_of(int(batch.ids[0, 0]) + 10)

    pipeline = InputPipeline(torch.device("cpu"), move, start)
    second = batch_of(1)
    assert pipeline.take(1) is None
    pipeline.begin(second, 2)
    assert moved == [second]
    assert steps.taken == []
    pipeline.advance()
    assert steps.taken == ["advance"]
    assert pipeline.take(1) is None
    assert pipeline.take(2).ids.tolist() == [[11, 11]]
    assert steps.taken == ["advance", "finish"]
    assert pipeline.take(2) is None


@pytest.fixture
def task_and_batch(prepared):
    data = CTRDataModule(prepared, batch_size=64)
    data.setup("fit")
    task = CTRTask(DeepFM, data.schema, 8)
    task.configure_model()
    return task, next(iter(data.train_dataloader()))


@torch.no_grad()
def test_a_started_batch_gives_what_a_plain_one_gives(task_and_batch):
    task, batch = task_and_batch
    started = task.start_lookup(batch)
    assert batch.started is None
    assert started.started is not None
    assert torch.equal(task(started), task(batch))


@torch.no_grad()
def test_ids_changed_since_are_looked_up_anew(task_and_batch):
    task, batch = task_and_batch
    started = task.start_lookup(batch)
    other = replace(started, ids=started.ids.roll(1, dims=1))
    assert torch.equal(task(other), task(replace(other, started=None)))
    started.ids[0].zero_()
    assert torch.equal(task(started), task(replace(started, started=None)))


class Stateful(Loader):
    def state_dict(self):
        return {}


class Unsized:
    def __iter__(self):
        return iter([])


class Hooked(CTRTask):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch


def test_what_cannot_be_pipelined_is_said(prepared):
    data = CTRDataModule(prepared)
    data.setup("fit")
    task, trainer = CTRTask(DeepFM, data.schema, 8), SimpleNamespace(datamodule=data)
    loader = data.train_dataloader()
    assert why_plain(trainer, task, Loader([])) is None
    loader.progress = SimpleNamespace(get=int)
    assert why_plain(trainer, task, loader) is None
    loader.progress = None
    assert "BatchLoader keeps its own position" in why_plain(trainer, task, loader)
    assert "Stateful keeps its own position" in why_plain(trainer, task, Stateful([]))
    assert "has no length" in why_plain(trainer, task, Unsized())
    assert "Hooked.on_after_batch_transfer" in why_plain(trainer, Hooked(DeepFM, data.schema, 8), Loader([]))
    assert "has no start_lookup" in why_plain(trainer, torch.nn.Linear(1, 1), Loader([]))


@pytest.mark.parametrize(
    ("last_of_epoch", "max_steps", "done", "expected"),
    [(False, -1, 5, False), (True, -1, 5, True), (False, 7, 5, False), (False, 6, 5, True)],
)
def test_nothing_is_begun_after_the_last_step(last_of_epoch, max_steps, done, expected):
    """A loader may have more batches on one process than on another, beyond a limit that both share."""
    strategy = TorchrecStrategy()
    trainer = SimpleNamespace(is_last_batch=last_of_epoch, max_steps=max_steps, global_step=done)
    strategy._lightning_module = SimpleNamespace(trainer=trainer)
    assert strategy._is_last_step == expected
