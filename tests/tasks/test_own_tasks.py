"""Tasks and optimizers of one's own: what is changed acts in training as in evaluation, or is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn, tensor
from torch.testing import assert_close
from torch.utils.data import DataLoader

from recsys.data import Column, Schema
from recsys.data.batch import Batch
from recsys.models import LogisticRegression
from recsys.tables import DenseGradient
from recsys.tasks import CTRTask

SCHEMA = Schema(Path("."), "made", "label", (Column("a", "categorical", 9), Column("x", "dense")), {})
BATCH = Batch(tensor([[1, 2, 3]]), {}, torch.ones(3, 1), tensor([0.0, 1.0, 1.0]))


class Scaled(CTRTask):
    """Logits times a temperature that is trained."""

    def __init__(self, **arguments):
        super().__init__(LogisticRegression, SCHEMA, embedding_dim=4, **arguments)
        self.temperature = nn.Parameter(tensor(2.0))

    def forward(self, batch):
        return self.temperature * super().forward(batch)


class Scheduled(CTRTask):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)]


def fitted(task, folder):
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = Trainer(default_root_dir=folder, accelerator="cpu", max_epochs=2, **quiet)
    trainer.fit(task, DataLoader([BATCH], batch_size=None))
    return trainer


def test_what_is_evaluated_is_what_is_trained():
    task = Scaled()
    task.configure_model()
    loss = task.training_step(BATCH, 0)
    assert_close(loss, nn.functional.binary_cross_entropy_with_logits(task(BATCH), BATCH.labels))
    loss.backward()
    assert task.temperature.grad.isfinite()


def test_a_forward_of_ones_own_is_not_captured():
    with pytest.raises(
        ValueError, match=r"capture_model=True replays the model alone, and not the forward\(\) of Scaled"
    ):
        Scaled(capture_model=True)


@pytest.mark.parametrize("settings", [{"warmup_steps": 3}, {"final_learning_rate_fraction": 0.5}])
def test_two_that_set_the_rates_are_refused(tmp_path, settings):
    task = Scheduled(LogisticRegression, SCHEMA, embedding_dim=4, **settings)
    with pytest.raises(
        ValueError, match=r"set the rates, and a scheduler of configure_optimizers.* leave out one of them"
    ):
        fitted(task, tmp_path)


def test_a_scheduler_alone_sets_the_rates(tmp_path):
    trainer = fitted(Scheduled(LogisticRegression, SCHEMA, embedding_dim=4), tmp_path)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-5)


def alone(groups):
    return torch.optim.Adam([tensor(0.0, requires_grad=True)])


def without_rows(groups):
    return torch.optim.Adam(groups[0]["params"])


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lambda groups: None, "optimizer must make a torch.optim.Optimizer .* got NoneType"),
        (lambda groups: [torch.optim.Adam(groups)], "optimizer must make a torch.optim.Optimizer .* got list"),
        (alone, r"optimizer leaves out (\d+) of the \1 parameters that it is given"),
        (without_rows, "optimizer leaves out 1 of the "),
    ],
)
def test_what_is_no_optimizer_of_all_parameters_is_refused(optimizer, message):
    task = CTRTask(LogisticRegression, SCHEMA, embedding_dim=4, table_optimizer=DenseGradient(), optimizer=optimizer)
    task.configure_model()
    with pytest.raises(ValueError, match=message):
        task.configure_optimizers()


@pytest.mark.parametrize("kept", [[], ["model"]])
def test_parameters_that_take_no_gradients_are_not_missed(kept):
    task = CTRTask(LogisticRegression, SCHEMA, embedding_dim=4, optimizer=partial(torch.optim.SGD, lr=0.1))
    task.configure_model()
    for name in kept:
        task.get_submodule(name).requires_grad_(False)
    assert task.configure_optimizers().param_groups
