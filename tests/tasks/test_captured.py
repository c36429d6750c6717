"""What a dense part in CUDA graphs refuses where there is no GPU; tests/gpu/checks.py compares it on one."""

import copy
import pickle

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from recsys.data import CTRDataModule
from recsys.models import DLRM
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
        CapturedLoss(nn.Linear(2, 1), torch.sum)(torch.ones(2))


def test_copies_of_a_task_capture_by_themselves(task):
    twin = copy.deepcopy(task)
    assert twin._captured._module is twin.model
    assert twin._captured._function.__self__ is twin
    loss = CapturedLoss(nn.Linear(2, 1), torch.sum)
    loss._replay = lambda: None
    assert pickle.loads(pickle.dumps(loss))._replay is None
