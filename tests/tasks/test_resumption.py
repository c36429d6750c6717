"""A resumed run: the validation that it owes, the best that it keeps, the folder that is its own."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn

from recsys.checkpoints.reading import read
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.configuration.run_folder import ClaimedTensorBoardLogger, CSVLoggerBeside
from recsys.data import CTRDataModule
from recsys.models import LogisticRegression
from recsys.tasks import CTRTask
from tests.checkpoints.words import command, write_words

EVERY_STEP = {"every_n_train_steps": 5, "save_top_k": -1, "filename": "{step}", "auto_insert_metric_name": False}
BEST = {"monitor": "val/auc", "mode": "max", "filename": "best", "save_last": False}
STOPPING = {"monitor": "val/auc", "mode": "max", "patience": 2, "min_delta": 0.5}


def callbacks(*entries):
    return f"--trainer.callbacks={json.dumps([{'class_path': name, 'init_args': each} for name, each in entries])}"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_words(tmp_path_factory.mktemp("words") / "data")


def fit(data, root, *more):
    return RecsysCLI.launch(["fit", *command(data, root, "--trainer.val_check_interval=5", *more)])


def validations(root):
    (file,) = Path(root).rglob("metrics.csv")
    with file.open() as rows:
        return [
            (int(row["step"]), row["val/auc"], row["val/log_loss"]) for row in csv.DictReader(rows) if row["val/auc"]
        ]


@pytest.mark.parametrize("extra", [(), (("EarlyStopping", STOPPING),)], ids=["plain", "stopping"])
def test_a_validation_that_was_due_is_made_up(data, tmp_path, extra):
    kept = callbacks(("ModelCheckpoint", EVERY_STEP), *extra)
    whole = fit(data, tmp_path / "whole", kept)
    wanted = validations(tmp_path / "whole")
    assert [step for step, _, _ in wanted] == ([4, 9, 14] if extra else [4, 9, 14, 19, 24, 29])
    for checkpoint in (tmp_path / "whole").rglob("*.ckpt"):
        step = int(checkpoint.stem)
        assert read(checkpoint)["validation_owed"]
        resumed = fit(data, tmp_path / str(step), kept, f"--ckpt_path={checkpoint}")
        assert validations(tmp_path / str(step)) == [row for row in wanted if row[0] >= step - 1], f"step {step}"
        assert resumed.trainer.global_step == whole.trainer.global_step
        rows = [cli.model.collection.lookup.weight("word") for cli in (whole, resumed)]
        assert torch.equal(*rows)


def test_a_validation_is_made_up_where_no_step_is_left(data, tmp_path, capsys):
    kept = callbacks(("ModelCheckpoint", EVERY_STEP), ("ModelCheckpoint", BEST))
    whole = fit(data, tmp_path / "whole", kept, "--trainer.max_steps=10", "--trainer.min_steps=10")
    (checkpoint,) = (tmp_path / "whole").rglob("10.ckpt")
    assert read(checkpoint)["validation_owed"]
    more = ("--trainer.max_steps=10", "--trainer.min_steps=10", f"--ckpt_path={checkpoint}")
    resumed = fit(data, tmp_path / "resumed", kept, *more)
    assert "is 10; raise it to go on. The validation after its last step is made up." in capsys.readouterr().out
    assert validations(tmp_path / "resumed") == validations(tmp_path / "whole")[-1:]
    assert resumed.trainer.global_step == 10
    scores = [each.trainer.checkpoint_callbacks[1].best_model_score for each in (whole, resumed)]
    assert torch.equal(*scores)
    assert torch.equal(*(cli.model.collection.lookup.weight("word") for cli in (whole, resumed)))


def test_a_checkpoint_of_a_validation_owes_none(data, tmp_path):
    fit(data, tmp_path, callbacks(("ModelCheckpoint", BEST)))
    (checkpoint,) = tmp_path.rglob("best.ckpt")
    assert not read(checkpoint)["validation_owed"]


def test_a_resumed_run_keeps_the_best_of_the_run_before(data, tmp_path):
    kept = callbacks(("ModelCheckpoint", BEST), ("ModelCheckpoint", {**EVERY_STEP, "every_n_train_steps": 15}))
    first = fit(data, tmp_path / "first", kept)
    best = first.trainer.checkpoint_callbacks[0]
    assert float(best.best_model_score) == 1.0
    (last,) = (path for path in (tmp_path / "first").rglob("30.ckpt"))
    more = ["--trainer.max_epochs=3", "--data.predict_split=val", f"--ckpt_path={last}"]
    resumed = fit(data, tmp_path / "second", kept, *more).trainer.checkpoint_callbacks[0]
    assert Path(resumed.best_model_path).is_relative_to(tmp_path / "second")
    assert float(resumed.best_model_score) == 1.0
    step = read(Path(best.best_model_path))["global_step"]
    assert read(Path(resumed.best_model_path))["global_step"] == step, "equal scores leave the first"


def test_another_optimizer_is_named(data, tmp_path):
    kept = callbacks(("ModelCheckpoint", EVERY_STEP))
    fit(data, tmp_path / "first", kept, "--trainer.max_steps=5")
    (checkpoint,) = tmp_path.rglob("5.ckpt")
    other = "--model.optimizer={class_path: torch.optim.SGD, init_args: {lr: 0.1}}"
    with pytest.raises(ValueError, match="has the state of Adam of 3 parameters, and this config's optimizer is SGD"):
        fit(data, tmp_path / "second", kept, other, f"--ckpt_path={checkpoint}")
    with pytest.raises(ValueError, match="optimizer is 'Adagrad' in the checkpoint and 'SGD' here"):
        fit(data, tmp_path / "third", kept, "--model.table_optimizer=SGD", f"--ckpt_path={checkpoint}")


def test_every_run_claims_a_folder_of_its_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        versions = list(pool.map(lambda _: ClaimedTensorBoardLogger(tmp_path).version, range(16)))
    assert sorted(versions) == list(range(16))
    logger = ClaimedTensorBoardLogger(tmp_path)
    assert CSVLoggerBeside(logger).log_dir == f"{logger.log_dir}/csv"


class Scaled(CTRTask):
    """A task with a parameter of its own."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, batch):
        return self.scale * super().forward(batch)


def test_a_parameter_of_the_task_itself_is_trained(data):
    schema = CTRDataModule(data).schema
    task = Scaled(model=LogisticRegression, schema=schema, embedding_dim=4)
    task.configure_model()
    groups = task.configure_optimizers().param_groups
    assert any(parameter is task.scale for group in groups for parameter in group["params"])


@pytest.mark.parametrize("max_steps", [7, 15, 22])
def test_an_epoch_that_max_steps_has_cut_is_gone_on_with(data, tmp_path, max_steps):
    """15 steps an epoch, two epochs: cut within the first, at its end, and within the second."""
    kept = callbacks(("ModelCheckpoint", {"filename": "last", "enable_version_counter": False}))
    kept = (kept, "--trainer.val_check_interval=1.0")
    whole = fit(data, tmp_path / "whole", *kept)
    fit(data, tmp_path / "cut", *kept, f"--trainer.max_steps={max_steps}")
    (last,) = (tmp_path / "cut").rglob("last.ckpt")
    assert read(last)["global_step"] == max_steps
    resumed = fit(data, tmp_path / "on", *kept, f"--ckpt_path={last}")
    assert resumed.trainer.global_step == whole.trainer.global_step == 30
    rows = [cli.model.collection.lookup.weight("word") for cli in (whole, resumed)]
    assert torch.equal(*rows)
