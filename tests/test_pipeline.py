"""The pipelined step: what is done ahead, and in which order."""

import torch

from recsys.batch import Batch
from recsys.data import CTRDataModule
from recsys.models import DeepFM
from recsys.pipeline import InputPipeline, Lookahead
from recsys.tables.started_lookup import InputDistribution, StartedBatch, StartedLookup
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
    for _ in range(2):
        seen = [(batch, loader.following(batch)) for batch in loader]
        assert seen == [(batches[0], batches[1]), (batches[1], batches[2]), (batches[2], None)]
    assert loader.following(batch_of(7)) is None
    assert len(loader) == 3
    assert loader.sampler == "its sampler"
    assert not hasattr(loader, "batch_sampler")
    assert list(Lookahead(Loader([]))) == []


def test_a_batch_takes_its_steps_in_order_and_is_taken_once():
    steps, moved = Steps(), []

    def start(batch):
        batch.started = StartedBatch([], StartedLookup([None, steps]))
        return batch

    def move(batch):
        moved.append(batch)
        return batch_of(int(batch.ids[0, 0]) + 10)

    pipeline = InputPipeline(torch.device("cpu"), move, start)
    first, second = batch_of(0), batch_of(1)
    assert pipeline.take(first) is None
    pipeline.begin(second)
    assert moved == [second]
    assert steps.taken == []
    pipeline.advance()
    assert steps.taken == ["advance"]
    assert pipeline.take(first) is None
    assert pipeline.take(second).ids.tolist() == [[11, 11]]
    assert steps.taken == ["advance", "finish"]
    assert pipeline.take(second) is None


def test_a_started_batch_gives_what_a_plain_one_gives(prepared):
    data = CTRDataModule(prepared, batch_size=64)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    task = CTRTask(DeepFM, data.schema, 8)
    task.configure_model()
    started = task.start_lookup(batch)
    assert batch.started is None
    assert started.started is not None
    with torch.no_grad():
        assert torch.equal(task(started), task(batch))
