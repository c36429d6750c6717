"""A training step and an evaluation batch ask no device for a number: on the meta device each such question fails."""

from contextlib import nullcontext

import pytest
import torch

from recsys.data import Schema
from recsys.data.batch import Batch
from recsys.losses import (
    GBCE,
    BinaryCrossEntropy,
    FullCrossEntropy,
    InBatchSampler,
    PopularitySampler,
    SampledSoftmax,
    UniformSampler,
)
from recsys.metrics.binary import BinaryMetrics
from recsys.metrics.next_item import RankingMetrics, exclude
from recsys.models import DLRM, HSTU, BERT4Rec, DCNv2, DeepFM, FinalMLP, GRU4Rec, SASRec
from recsys.tables import Bag, DenseGradient, RowWiseAdagrad, TorchLookup
from recsys.tasks import CTRTask, MaskedItems, TableOptions
from tests.tasks.made_items import MAX_LENGTH, cyclic_sessions, make_task, padded

META = torch.device("meta")
LOSSES = {
    "full": FullCrossEntropy(),
    "sampled": SampledSoftmax(),
    "popular": SampledSoftmax(PopularitySampler(8)),
    "in batch": SampledSoftmax(InBatchSampler()),
    "own negatives": BinaryCrossEntropy(UniformSampler(3, per_target=True)),
    "gbce": GBCE(),
}


@pytest.fixture(autouse=True)
def _no_autocast(monkeypatch):
    """Which is not for the meta device."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())


def take_steps(task, batch):
    task.collection = task.table_settings.build(META)
    task.collection.lookup.gradients.may_be_scaled = False
    task.to(META)
    task.log = lambda *_, **__: None
    optimizer = task.configure_optimizers()
    for step in range(2):
        optimizer.zero_grad()
        task.training_step(batch, step).backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()


@pytest.mark.parametrize("rows", [RowWiseAdagrad(0.05), DenseGradient()], ids=str)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_of_next_item_training(loss, rows):
    batch = padded(cyclic_sessions(16, length=MAX_LENGTH)).to(META)
    take_steps(make_task(loss=LOSSES[loss], table_optimizer=rows), batch)


@pytest.mark.parametrize("model", [SASRec, HSTU, GRU4Rec, BERT4Rec], ids=lambda kind: kind.__name__)
def test_a_step_of_every_session_model(model):
    objective = {"objective": MaskedItems()} if model is BERT4Rec else {}
    batch = padded(cyclic_sessions(16, length=MAX_LENGTH), times=torch.arange(16 * MAX_LENGTH).view(16, -1)).to(META)
    take_steps(make_task(model=model, **objective), batch)


@pytest.mark.parametrize("model", [DLRM, DeepFM, DCNv2, FinalMLP], ids=lambda kind: kind.__name__)
def test_a_step_of_clicks(model, prepared):
    schema = Schema.read(prepared)
    rows = {"default": TableOptions(optimizer=RowWiseAdagrad(0.1))}
    task = CTRTask(model, schema, 8, table_options=rows, embedding_dropout=0.1, warmup_steps=3, lookup=TorchLookup)
    bag = Bag(torch.zeros(9, dtype=torch.int32), torch.zeros(5, dtype=torch.int64))
    ids = torch.zeros(len(schema.categorical), 5, dtype=torch.int32)
    take_steps(task, Batch(ids, {"tags": bag}, torch.zeros(5, len(schema.dense)), torch.zeros(5)).to(META))


def test_metrics_gather_without_a_question():
    clicks = BinaryMetrics()
    ranking = RankingMetrics(torch.ones(31, dtype=torch.int64))
    for _ in range(2):
        clicks.update(torch.zeros(5, device=META), torch.zeros(5, device=META))
        scores, targets = torch.zeros(4, 30, device=META), torch.ones(4, dtype=torch.int64, device=META)
        history = Bag(torch.ones(7, dtype=torch.int64), torch.ones(4, dtype=torch.int64)).to(META)
        exclude(scores, history)
        ranking.update(scores, targets, history)
