"""The task: it learns, evaluates exactly, resumes to the bit and says what is wrong."""

import os
import signal
import subprocess
import sys
import textwrap
import warnings
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from torch.testing import assert_close

from recsys.data import CTRDataModule
from recsys.evaluation import auc, log_loss
from recsys.models import DCNv2, DeepFM
from recsys.tables import (
    Adam,
    CCETable,
    DenseGradient,
    FbgemmLookup,
    FullTable,
    HashTable,
    QRTable,
    RowWiseAdagrad,
    TorchLookup,
    UnifiedTable,
)
from recsys.tasks import CTRTask, PredictionWriter, TableOptions, TableSummary, Throughput, WeightEMA
from recsys.tasks.schedule import Schedule


def small_model(*sizes):
    return DeepFM(*sizes, hidden_dims=(16,), dropout=0.1)


def unified(name, num_embeddings, embedding_dim):
    return UnifiedTable(name, num_embeddings, embedding_dim, num_rows=64)


def momentum(groups):
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def make_trainer(folder, **arguments):
    return Trainer(
        **{
            "default_root_dir": folder,
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "max_epochs": 2,
            **arguments,
        }
    )


def make_task(data, **arguments):
    return CTRTask(**{"model": small_model, "schema": data.schema, "embedding_dim": 8, **arguments})


@pytest.mark.parametrize("lookup", [TorchLookup, FbgemmLookup])
@pytest.mark.parametrize(
    "optimizer", [RowWiseAdagrad(0.1), Adam(0.02), DenseGradient(0.02)], ids=lambda o: type(o).__name__
)
def test_it_learns_the_planted_signal(prepared, tmp_path, lookup, optimizer):
    seed_everything(0, verbose=False)
    data = CTRDataModule(prepared, batch_size=100)
    task = make_task(data, lookup=lookup, table_optimizer=optimizer, warmup_steps=5, final_learning_rate_fraction=0.1)
    trainer = make_trainer(tmp_path, max_epochs=8)
    trainer.fit(task, datamodule=data)
    (metrics,) = trainer.test(task, datamodule=data, verbose=False)
    assert metrics["test/auc"] > 0.8
    assert metrics["test/normalised_entropy"] < 0.95
    assert metrics["test/calibration"] == pytest.approx(1, abs=0.25)


def test_metrics_are_of_the_whole_split_and_predictions_are_in_row_order(prepared, tmp_path):
    seed_everything(0, verbose=False)
    data = CTRDataModule(prepared, batch_size=100, eval_batch_size=64)
    task = make_task(data)
    trainer = make_trainer(tmp_path, callbacks=[PredictionWriter("out/scores.parquet")], max_epochs=1)
    trainer.fit(task, datamodule=data)
    (metrics,) = trainer.test(task, datamodule=data, verbose=False)
    trainer.predict(task, datamodule=data, return_predictions=False)
    written = pq.read_table(tmp_path / "out" / "scores.parquet")
    labels = pq.read_table(prepared / "test").column("label").to_numpy()
    assert np.array_equal(written.column("label").to_numpy(), labels)
    assert written.schema.field("logit").type == pa.float32()
    logits = written.column("logit").to_numpy()
    assert metrics["test/auc"] == auc(labels, logits)
    assert metrics["test/log_loss"] == log_loss(labels, logits, logits=True)
    for name in ("C1", "C2", "C3", "tags"):
        assert written.column(name).to_pylist() == pq.read_table(prepared / "test").column(name).to_pylist()


SCRIPT = """
import sys
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from recsys.data import CTRDataModule
from recsys.models import DeepFM
from recsys.tables import FbgemmLookup, RowWiseAdagrad
from recsys.tasks import CTRTask, WeightEMA
import os, signal, torch
torch.set_num_threads(1)
prepared, folder, kill_at, resume = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
class Kill(Callback):
    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
seed_everything(0, verbose=False)
data = CTRDataModule(prepared, batch_size=100)
model = lambda *s: DeepFM(*s, hidden_dims=(16,))
task = CTRTask(model, data.schema, 8, warmup_steps=30, final_learning_rate_fraction=0.5)
saves = ModelCheckpoint(folder, every_n_train_steps=7, save_last=True, save_top_k=1, monitor=None)
trainer = Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_progress_bar=False,
                  enable_model_summary=False, callbacks=[saves, Kill(), WeightEMA(0.9)], default_root_dir=folder)
trainer.fit(task, datamodule=data, ckpt_path=resume or None)
torch.save(task.state_dict(), folder + "/final.pt")
"""


def test_a_killed_run_resumes_to_the_bit(prepared, tmp_path):
    def launch(folder, kill_at, resume):
        script = textwrap.dedent(SCRIPT)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-W", "ignore", "-c", script, str(prepared), str(folder), str(kill_at), str(resume)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    complete = launch(whole, -1, "")
    assert complete.returncode == 0, complete.stderr[-2000:]
    assert launch(killed, 32, "").returncode == -signal.SIGKILL
    resumed = launch(killed, -1, killed / "last.ckpt")
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    first, second = (torch.load(folder / "final.pt", weights_only=True) for folder in (whole, killed))
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert different == []


def test_the_average_is_what_is_evaluated_and_saved(prepared, tmp_path):
    seed_everything(0, verbose=False)
    data = CTRDataModule(prepared, batch_size=100)
    tables = {"default": unified}
    task = make_task(data, tables=tables, table_optimizer=DenseGradient())
    trainer = make_trainer(tmp_path, callbacks=[WeightEMA(0.9)], enable_checkpointing=True)
    trainer.fit(task, datamodule=data)
    seeds = {name: value for name, value in task.state_dict().items() if name.endswith("seed")}
    fresh = make_task(data, tables=tables, table_optimizer=DenseGradient())
    fresh.configure_model()
    checkpoint = trainer.checkpoint_callback.best_model_path
    saved = torch.load(checkpoint, weights_only=False)["state_dict"]
    fresh.load_state_dict(saved)
    assert all(torch.equal(saved[name], value) for name, value in seeds.items()), "averaging must not touch the seeds"
    (validated,) = trainer.validate(task, datamodule=data, ckpt_path=checkpoint, verbose=False)
    (again,) = make_trainer(tmp_path).validate(fresh, datamodule=CTRDataModule(prepared, batch_size=100), verbose=False)
    assert validated["val/auc"] == again["val/auc"]
    current = torch.load(checkpoint, weights_only=False)["current_model_state"]
    assert any(not torch.equal(saved[name], value) for name, value in current.items())


def test_rows_without_a_gradient_are_saved_as_they_are_beside_the_average(prepared, tmp_path):
    data = CTRDataModule(prepared, batch_size=100)
    task = make_task(data, table_optimizer=RowWiseAdagrad(0.05))
    trainer = make_trainer(tmp_path, callbacks=[WeightEMA(0.9)], max_epochs=1)
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert torch.equal(saved["state_dict"]["collection.lookup.C3.weight"], task.collection.lookup.weight("C3"))
    assert "collection.lookup.C3.weight" not in saved["current_model_state"]
    assert all(name in saved["current_model_state"] for name, _ in task.model.named_parameters(prefix="model"))


def test_options_freeze_fill_and_optimise_an_entry(prepared, tmp_path):
    data = CTRDataModule(prepared, batch_size=100)
    rows = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    task = make_task(
        data,
        tables={"default": FullTable, "given": FullTable, "hashed": lambda n, v, d: HashTable(n, v, d, num_rows=50)},
        assign={"given": ["C1"], "hashed": ["C[23]"]},
        table_options={
            "given": TableOptions(freeze=True, init_from=tmp_path / "rows.npy"),
            "hashed": TableOptions(optimizer=Adam(0.01)),
        },
    )
    make_trainer(tmp_path, max_epochs=1).fit(task, datamodule=data)
    assert_close(task.collection.lookup.weight("C1"), torch.from_numpy(rows))
    assert type(task.collection.table("C3")) is HashTable
    assert isinstance(task.collection.lookup.optimizer_of("C2"), Adam)
    assert isinstance(task.collection.lookup.optimizer_of("tags"), RowWiseAdagrad)


def test_callbacks_log_and_print(prepared, tmp_path, capsys):
    data = CTRDataModule(prepared, batch_size=50)
    trainer = make_trainer(tmp_path, callbacks=[TableSummary(), Throughput(10)], max_epochs=1)
    trainer.fit(make_task(data), datamodule=data)
    assert trainer.callback_metrics["train/samples_per_second"] > 0
    printed = capsys.readouterr().out
    assert "Embedding tables" in printed
    assert "optimizer state" in printed


@pytest.mark.parametrize(("warmup_steps", "warns"), [(3, False), (4, True), (500, True)])
def test_a_warm_up_that_outlasts_the_run_is_warned_of(prepared, tmp_path, warmup_steps, warns):
    data = CTRDataModule(prepared, batch_size=100)
    task = make_task(data, warmup_steps=warmup_steps)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_trainer(tmp_path, max_steps=4, limit_val_batches=0).fit(task, data)
    said = [str(each.message) for each in caught if "warmup_steps" in str(each.message)]
    assert len(said) == warns
    assert all(f"CTRTask: warmup_steps={warmup_steps} and the run has 4 steps" in each for each in said)


def test_the_schedule():
    schedule = Schedule(warmup_steps=4, final_fraction=0.5, total_steps=15)
    assert [schedule(step) for step in (0, 1, 3, 4, 9, 14, 99)] == [0.25, 0.5, 1.0, 1.0, 0.75, 0.5, 0.5]
    assert Schedule(0, 0.1, 10)(9) == pytest.approx(0.1), "the last of ten steps"
    assert [Schedule(5, 0.1, total)(total - 1) for total in (1, 2)] == [0.2, 0.4], "a run within its warm-up"
    assert Schedule(0, 0.1, 1)(0) == 1
    assert Schedule().is_constant


def test_a_decay_without_a_last_step_is_refused(prepared, tmp_path):
    data = CTRDataModule(prepared, batch_size=100)
    task = make_task(data, final_learning_rate_fraction=0.1)
    with pytest.raises(ValueError, match=r"final_learning_rate_fraction=0.1 is reached .*max_epochs"):
        make_trainer(tmp_path, max_epochs=-1).fit(task, data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"assign": {"lagre": ["C1"]}, "tables": {"default": FullTable, "large": QRTable}}, "did you mean 'large'"),
        ({"assign": {"default": ["C9"]}}, r"'C9' matches no feature.*known: C1, C2, C3, tags"),
        ({"tables": {"a": FullTable, "b": QRTable}, "assign": {"a": ["C1"], "b": ["C*"]}}, "to both 'a' and 'b'"),
        ({"tables": {"defualt": FullTable}}, r"to tables \(tables has 'defualt'; did you mean 'default'\?\)\."),
        ({"tables": {"a": FullTable}, "assign": {"a": ["C1"]}}, r"features \['C2', 'C3', 'tags'\] have no table"),
        ({"warmup_steps": -1}, "warmup_steps must be at least 0, got -1"),
        ({"embedding_dropout": 1.0}, r"embedding_dropout must be in \[0, 1\), got 1.0"),
        ({"final_learning_rate_fraction": 2.0}, "final_learning_rate_fraction must be in"),
        ({"schema": None}, "schema is missing"),
    ],
)
def test_a_mistake_is_named_before_anything_is_read(prepared, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_task(CTRDataModule(prepared), **arguments)


def test_tables_that_need_more_epochs_refuse_a_short_run_and_get_their_epoch_ends(prepared, tmp_path):
    data = CTRDataModule(prepared, batch_size=100)
    tables = {"default": partial(CCETable, num_clusters=6, num_chunks=2)}
    task = make_task(data, tables=tables, table_optimizer=RowWiseAdagrad(0.1))
    with pytest.raises(ValueError, match=r"table 'C1' needs at least 2 epochs of training, got trainer\.max_epochs=1"):
        make_trainer(tmp_path, max_epochs=1).fit(task, datamodule=data)
    make_trainer(tmp_path, max_epochs=2).fit(task, datamodule=data)
    assert task.collection.table("C1").num_clusterings.item() == 1


def test_several_processes_are_refused(prepared):
    from types import SimpleNamespace

    task = make_task(CTRDataModule(prepared))
    task._trainer = SimpleNamespace(world_size=2, strategy=None, precision_plugin=None, callbacks=[])
    with pytest.raises(ValueError, match="one process, got 2"):
        task.setup("fit")


def test_a_compiled_model_equals_the_plain_one(prepared):
    from shutil import which

    if which("g++") is None and which("clang++") is None:
        pytest.skip("no C++ compiler")
    data = CTRDataModule(prepared, batch_size=32)
    tasks = []
    for compile_model in (False, True):
        seed_everything(0, verbose=False)
        tasks.append(make_task(data, model=lambda *s: DCNv2(*s, hidden_dims=(8,)), compile_model=compile_model))
        tasks[-1].configure_model()
    data.setup("fit")
    batch = next(iter(data.val_dataloader()))
    assert tasks[0].state_dict().keys() == tasks[1].state_dict().keys()
    assert_close(tasks[0](batch), tasks[1](batch), rtol=1e-4, atol=1e-5)
