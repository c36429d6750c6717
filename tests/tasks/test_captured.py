"""What a dense part in CUDA graphs refuses where there is no GPU; tests/gpu/checks.py compares it on one."""

import copy
import pickle

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from recsys.data import CTRDataModule
from recsys.models import DLRM
from recsys.tables import SGD, Feature, FullTable, TableCollection
from recsys.tasks import CTRTask
from recsys.tasks.captured import CapturedLoss


@pytest.fixture
def task(prepared):
    return CTRTask(DLRM, CTRDataModule(prepared).schema, 4, capture_model=True)


def test_a_run_without_a_gpu_is_refused_before_it_begins(task, prepared, tmp_path):
    trainer = Trainer(
        accelerator="cpu", max_epochs=1, logger=False, enable_progress_bar=False, default_root_dir=tmp_path
    )
    with pytest.raises(ValueError, match="capture_model=True needs one process with a GPU, got 1 on cpu"):
        trainer.fit(task, datamodule=CTRDataModule(prepared))


def test_tensors_without_a_gpu_are_refused(task):
    with pytest.raises(ValueError, match="capture_model=True needs a GPU, got tensors on cpu"):
        CapturedLoss(nn.Linear(2, 1), torch.sum, print)(torch.ones(2))


def test_copies_of_a_task_capture_by_themselves(task):
    twin = copy.deepcopy(task)
    assert twin._captured._module is twin.model
    assert twin._captured._function.__self__ is twin
    loss = CapturedLoss(nn.Linear(2, 1), torch.sum, print)
    loss._replay = lambda: None
    assert pickle.loads(pickle.dumps(loss))._replay is None


def test_gradients_that_wait_survive_a_pass_that_writes_over_their_memory(prepared):
    """As the second of two accumulated passes of a graph does: it gives the memory of the first again."""
    features, tables = [Feature("f", "t")], {"t": FullTable("t", 5, 4)}
    collection = TableCollection(features, tables, optimizer=SGD(1.0))
    before = collection.lookup.weight("t").clone()
    memory = torch.ones(2, 1, 4)
    for ids in ([[0, 1]], [[1, 2]]):
        collection.lookup.gradients.keep()
        memory.fill_(1.0 if ids[0][0] == 0 else 10.0)
        collection(torch.tensor(ids)).backward(memory)
    collection.step()
    moved = (before - collection.lookup.weight("t"))[:, 0]
    torch.testing.assert_close(moved, torch.tensor([1.0, 11.0, 10.0, 0.0, 0.0]))
