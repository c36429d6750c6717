"""A dense part that is replayed: its arithmetic on a CPU, with a graph that does its work again.

tests/gpu/checks.py compares real graphs on a GPU.
"""

import copy
import pickle

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from torch.testing import assert_close

from recsys.data import CTRDataModule
from recsys.models import DLRM
from recsys.tasks import CTRTask, captured
from recsys.tasks.captured import CapturedLoss


class WorkDoneAgain:
    """Writes the results where a graph would: always to the same memory."""

    def __init__(self, work, device):
        self._work = work
        self.num_replays = 0
        self.results = work()

    def replay(self):
        self.num_replays += 1
        with torch.enable_grad():
            scalar, gradients = self._work()
        self.results[0].copy_(scalar)
        for own, each in zip(self.results[1], gradients, strict=True):
            own.copy_(each)


@pytest.fixture
def graphs(monkeypatch):
    made = []
    monkeypatch.setattr(captured, "CudaGraph", lambda *arguments: made.append(WorkDoneAgain(*arguments)) or made[-1])
    return made


@pytest.fixture
def task(prepared):
    return CTRTask(DLRM, CTRDataModule(prepared).schema, 4, capture_model=True)


def trained(prepared, tmp_path, monkeypatch, capture_model, **arguments):
    # The refusal of a CPU is tested below.
    monkeypatch.setattr(CTRTask, "setup", super(CTRTask, CTRTask).setup)
    data = CTRDataModule(prepared, batch_size=48)
    torch.manual_seed(0)
    model = lambda *sizes: DLRM(*sizes, bottom_dims=(8,), top_dims=(16,), dropout=0.0, batch_norm=True)  # noqa: E731
    task = CTRTask(model, data.schema, 4, capture_model=capture_model)
    quiet = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
    trainer = Trainer(
        accelerator="cpu", max_epochs=2, default_root_dir=tmp_path, **dict.fromkeys(quiet, False), **arguments
    )
    trainer.fit(task, datamodule=data)
    return task.state_dict()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"accumulate_grad_batches": 3},
        {"gradient_clip_val": 0.1},
        {"accumulate_grad_batches": 2, "gradient_clip_val": 0.1},
    ],
    ids=str,
)
def test_a_run_ends_as_one_without_graphs(prepared, tmp_path, monkeypatch, graphs, arguments):
    expected = trained(prepared, tmp_path, monkeypatch, False, **arguments)
    assert not graphs
    found = trained(prepared, tmp_path, monkeypatch, True, **arguments)
    (graph,) = graphs
    assert graph.num_replays > 10
    for name, value in expected.items():
        assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=lambda message, n=name: f"{n}: {message}")


def scalar_of(module):
    return lambda values: module(values).square().sum()


def test_other_shapes_single_samples_and_evaluation_go_without_the_graph(graphs):
    module = nn.Linear(3, 2)
    loss = CapturedLoss(module, scalar_of(module))
    loss(torch.ones(4, 3))
    for values in (torch.ones(5, 3), torch.ones(1, 3), torch.ones(4, 3, dtype=torch.float32, requires_grad=True)):
        assert_close(loss(values), scalar_of(module)(values))
    module.eval()
    loss(torch.ones(4, 3))
    module.train()
    with torch.no_grad():
        loss(torch.ones(4, 3))
    assert [graph.num_replays for graph in graphs] == [1]


def test_frozen_parameters_are_captured_anew(graphs):
    module = nn.Linear(3, 2)
    loss = CapturedLoss(module, scalar_of(module))
    loss(torch.ones(4, 3)).backward()
    module.bias.requires_grad_(False)
    module.zero_grad()
    loss(torch.ones(4, 3)).backward()
    assert module.bias.grad is None
    assert module.weight.grad.count_nonzero() == 6
    assert len(graphs) == 2


def test_what_a_graph_cannot_follow_is_captured_anew(graphs):
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    loss, values = CapturedLoss(module, scalar_of(module)), torch.randn(4, 3)
    changes = [
        lambda: None,
        lambda: module[1].eval(),
        lambda: setattr(module[0], "weight", nn.Parameter(torch.ones(2, 3))),
    ]
    for change in changes:
        change()
        statistics = copy.deepcopy(module)
        assert_close(loss(values), scalar_of(statistics)(values))
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(loss(values), scalar_of(copy.deepcopy(module))(values))
    assert len(graphs) == 4


def test_a_second_batch_before_the_backward_pass_is_refused(graphs):
    module = nn.Linear(3, 2)
    loss = CapturedLoss(module, scalar_of(module))
    first, _ = loss(torch.ones(4, 3)), loss(torch.zeros(4, 3))
    with pytest.raises(RuntimeError, match="another batch was computed before its backward pass"):
        first.backward()


def test_gradients_are_multiplied_by_what_the_backward_pass_brings(graphs):
    module, values = nn.Linear(3, 2), torch.randn(4, 3, requires_grad=True)
    loss = CapturedLoss(module, scalar_of(module))
    (loss(values) * 3).backward()
    found = [module.weight.grad, module.bias.grad, values.grad]
    expected = torch.autograd.grad(3 * scalar_of(module)(values), [module.weight, module.bias, values])
    assert_close(found, list(expected))


def test_a_run_without_a_gpu_is_refused_before_it_begins(task, prepared, tmp_path):
    quiet = {"logger": False, "enable_progress_bar": False, "default_root_dir": tmp_path}
    trainer = Trainer(accelerator="cpu", max_epochs=1, **quiet)
    with pytest.raises(ValueError, match="capture_model=True needs one process with a GPU, got 1 on cpu"):
        trainer.fit(task, datamodule=CTRDataModule(prepared))


def test_tensors_without_a_gpu_are_refused():
    with pytest.raises(ValueError, match="capture_model=True needs a GPU, got tensors on cpu"):
        CapturedLoss(nn.Linear(2, 1), torch.sum)(torch.ones(2))


def test_copies_of_a_task_capture_by_themselves(task):
    twin = copy.deepcopy(task)
    assert twin._captured._module is twin.model
    assert twin._captured._function.__self__ is twin
    loss = CapturedLoss(nn.Linear(2, 1), torch.sum)
    loss._key = (1,)
    assert pickle.loads(pickle.dumps(loss))._key is None
