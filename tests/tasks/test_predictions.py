"""Predictions: whole or not there, of one run, never through a link, never in place of what is to be kept."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from recsys.cli import main
from recsys.data import CTRDataModule
from recsys.evaluation import Names, PredictionFiles
from recsys.models import DeepFM
from recsys.tasks import CTRTask, PredictionWriter
from recsys.tasks.predictions import _table
from recsys.tasks.published_file import PublishedFile
from tests.tasks.made_items import evaluation_batches, loader, make_task

WORD = "0" * 32


def predict(prepared, folder, *callbacks, task=None, writer=None):
    data = CTRDataModule(prepared, batch_size=100, eval_batch_size=64)
    seed_everything(0, verbose=False)
    task = task or CTRTask(lambda *sizes: DeepFM(*sizes, hidden_dims=(8,)), data.schema, 8)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[writer or PredictionWriter(), *callbacks],
        default_root_dir=folder,
    )
    trainer.predict(task, datamodule=data, return_predictions=False)


class Stop(Callback):
    """Fails, or does something else, after the second batch."""

    def __init__(self, act):
        self.act = act

    def on_predict_batch_end(self, trainer, task, outputs, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 1:
            self.act()


def fail():
    raise RuntimeError("stopped")


def test_predictions_carry_what_evaluation_asks_for(prepared, tmp_path):
    predict(prepared, tmp_path)
    written = pq.read_table(tmp_path / "predictions.parquet")
    assert written.column_names == ["label", "logit", "C1", "C2", "C3", "tags"]
    assert written.schema.field("logit").type == pa.float32()
    stored = pq.read_table(prepared / "test").select(["label", "C1", "C2", "C3", "tags"])
    for name in stored.column_names:
        assert written[name].to_pylist() == stored[name].to_pylist()
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.parquet"]


def test_what_is_there_is_kept_unless_asked(prepared, tmp_path):
    target = tmp_path / "predictions.parquet"
    target.write_text("kept")
    with pytest.raises(ValueError, match=r"exists and is kept; .*PredictionWriter --trainer.callbacks.overwrite=true"):
        predict(prepared, tmp_path)
    assert target.read_text() == "kept"
    predict(prepared, tmp_path, writer=PredictionWriter(overwrite=True))
    assert len(pq.read_table(target)) == 500
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.parquet"]


def test_nothing_is_written_through_a_link(prepared, tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "predictions.parquet").symlink_to(tmp_path / "precious")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="is a link, through which nothing is written"):
            predict(prepared, tmp_path, writer=PredictionWriter(overwrite=overwrite))
    (tmp_path / "predictions.parquet").unlink()
    (tmp_path / ".predictions.parquet.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic link"):
        predict(prepared, tmp_path)
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_run_that_fails_leaves_nothing(prepared, tmp_path):
    with pytest.raises(RuntimeError, match="stopped"):
        predict(prepared, tmp_path, Stop(fail))
    assert not list(tmp_path.iterdir())
    predict(prepared, tmp_path)


def test_a_file_that_comes_about_meanwhile_is_kept(prepared, tmp_path):
    target = tmp_path / "predictions.parquet"
    with pytest.raises(ValueError, match="exists and is kept"):
        predict(prepared, tmp_path, Stop(lambda: target.write_text("kept")))
    assert target.read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.parquet"]


def test_one_run_at_a_time_writes_a_file(prepared, tmp_path):
    refused = []

    def run_another():
        with pytest.raises(ValueError, match=r"another run is writing '.*predictions.parquet'") as error:
            predict(prepared, tmp_path)
        refused.append(error)

    predict(prepared, tmp_path, Stop(run_another))
    assert len(refused) == 1
    assert len(pq.read_table(tmp_path / "predictions.parquet")) == 500
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.parquet"]


SCRIPT = """
import os, signal, sys
from pathlib import Path
from recsys.tasks.published_file import PublishedFile
file = PublishedFile(Path(sys.argv[1]), overwrite=False)
word = file.claim()
file.place(word, "part0").write_text("half")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_is_in_nobodys_way(tmp_path):
    target = tmp_path / "predictions.parquet"
    code = subprocess.run([sys.executable, "-c", SCRIPT, str(target)], check=False).returncode
    assert code == -signal.SIGKILL
    others = tmp_path / f".predictions.parquet.backup.{WORD}.part0"
    others.write_text("kept")
    assert len(list(tmp_path.iterdir())) == 3
    file = PublishedFile(target, overwrite=False)
    word = file.claim()
    made = file.place(word, "part0")
    assert [path for path in tmp_path.glob(".predictions.parquet.*part0")] == [others]
    made.write_text("whole")
    file.publish(made)
    file.release(word)
    assert target.read_text() == "whole"
    assert set(tmp_path.iterdir()) == {target, others}


def test_a_claim_outlives_no_file_that_was_removed_beneath_it(tmp_path):
    """The lock file of a run that ends while another waits to lock it is no longer the one that others will open."""
    lock = tmp_path / ".a.lock"
    opened = os.open(lock, os.O_CREAT | os.O_RDWR)
    fcntl.flock(opened, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="another run"):
        PublishedFile(tmp_path / "a", overwrite=False).claim()
    lock.unlink()
    file = PublishedFile(tmp_path / "a", overwrite=False)
    word = file.claim()
    os.close(opened)
    with pytest.raises(ValueError, match="another run"):
        PublishedFile(tmp_path / "a", overwrite=False).claim()
    file.release(word)
    assert not list(tmp_path.iterdir())


class Diverged(CTRTask):
    def forward(self, batch):
        return super().forward(batch) * torch.nan


def test_scores_that_are_no_numbers_are_refused(prepared, tmp_path):
    schema = CTRDataModule(prepared).schema
    with pytest.raises(ValueError, match="64 of 64 scores are NaN or infinite; training has diverged"):
        predict(prepared, tmp_path, task=Diverged(lambda *sizes: DeepFM(*sizes, hidden_dims=(8,)), schema, 8))
    assert not list(tmp_path.iterdir())
    task = make_task()
    task.configure_model()
    with torch.no_grad():
        next(iter(task.model.parameters())).fill_(torch.nan)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    with pytest.raises(ValueError, match="scores are NaN"):
        trainer.predict(task, loader(evaluation_batches()))


def test_columns_that_the_data_keep_follow_and_weights_are_named():
    prediction = {
        "label": torch.tensor([0.0, 1.0]),
        "weight": torch.tensor([1.0, 2.0]),
        "logit": torch.tensor([0.5, 1]),
    }
    beside = pa.table({"key": ["a", "b"], "weight": [1.0, 2.0]})
    rows = _table(prediction, beside)
    assert rows.column_names == ["label", "weight", "logit", "key"]
    with pytest.raises(ValueError, match="column 'logit' of the data has the name of one that is predicted"):
        _table(prediction, pa.table({"logit": [1, 2]}))


def test_the_weights_that_predict_wrote_are_used_and_those_of_others_are_not(tmp_path, capsys):
    prediction = {
        "label": torch.tensor([0.0, 1, 1]),
        "weight": torch.tensor([1.0, 2, 1]),
        "logit": torch.tensor([0.5, 1, 0]),
    }
    rows = _table(prediction, None)
    found = {}
    for name, table in (("ours", rows), ("theirs", rows.replace_schema_metadata({}))):
        pq.write_table(table, tmp_path / f"{name}.parquet")
        with pytest.raises(SystemExit):
            main(["evaluate", str(tmp_path / f"{name}.parquet"), "--out", str(tmp_path / name)])
        found[name] = json.loads((tmp_path / name / "metrics.json").read_text())
    areas = {name: report["metrics"][0]["value"] for name, report in found.items()}
    assert areas == {"ours": 2 / 3, "theirs": 1 / 2}
    assert "Weighted by 'weight', 4 in all" in " ".join(found["ours"]["notes"])
    assert "Column 'weight' is not used; --weight weight does." in found["theirs"]["notes"]


def test_groups_of_rows_do_not_depend_on_batches(prepared, tmp_path):
    predict(prepared, tmp_path)
    assert pq.ParquetFile(tmp_path / "predictions.parquet").num_row_groups == 1
    names = Names(score="logit", others=("C1",), logits=True)
    rows = PredictionFiles([tmp_path / "predictions.parquet"], names).all()
    assert np.array_equal(rows.others["C1"].to_numpy(), pq.read_table(prepared / "test")["C1"].to_numpy())


@pytest.fixture
def fitted(prepared, tmp_path):
    """Words for the command line, and the checkpoint of a run of one epoch."""
    config = Path(__file__).resolve().parents[2] / "configs" / "criteo_80k.yaml"
    words = ["-c", str(config), f"--data.init_args.path={prepared}", "--trainer.enable_progress_bar=false"]
    words += [f"--trainer.default_root_dir={tmp_path}"]
    main(["fit", *words, "--trainer.max_epochs=1", "--trainer.logger=false"])
    return words, next(tmp_path.glob("checkpoints/*.ckpt"))


def test_the_command_line_replaces_predictions_when_asked(fitted, tmp_path, capsys):
    words, checkpoint = fitted
    main(["predict", *words, f"--ckpt_path={checkpoint}"])
    first = (tmp_path / "predictions.parquet").stat().st_ino
    with pytest.raises(SystemExit) as stop:
        main(["predict", *words, f"--ckpt_path={checkpoint}"])
    assert stop.value.code == 2
    assert "exists and is kept" in capsys.readouterr().err
    replace = ["--trainer.callbacks+=PredictionWriter", "--trainer.callbacks.overwrite=true"]
    main(["predict", *words, *replace, f"--ckpt_path={checkpoint}"])
    assert (tmp_path / "predictions.parquet").stat().st_ino != first
    shutil.rmtree(tmp_path / "checkpoints")
