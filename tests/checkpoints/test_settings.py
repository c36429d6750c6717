"""A run that goes on with other settings than the one before says which, once; one with nothing to do says that."""

import pytest

from recsys.checkpoints.reading import read
from recsys.checkpoints.settings import SETTINGS, changed_settings, in_words, run_settings
from recsys.configuration.lightning_cli import RecsysCLI
from tests.checkpoints.words import command, write_words


def config(**model):
    arguments = {"embedding_dim": 4, "schema": "x", **model}
    callbacks = [
        {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"patience": 2}},
        {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"monitor": "val/auc"}},
    ]
    return {
        "seed_everything": 0,
        "model": {"class_path": "recsys.tasks.CTRTask", "init_args": arguments},
        "data": {"class_path": "recsys.data.CTRDataModule", "init_args": {"path": "here", "batch_size": 8}},
        "trainer": {"precision": "32-true", "max_epochs": 3, "callbacks": callbacks, "logger": True},
    }


def test_what_decides_the_result_is_kept_by_name():
    found = run_settings(config(tables={"default": {"class_path": "m.QRTable", "init_args": {"num_remainders": 3}}}))
    assert found["model.tables.default"] == "m.QRTable"
    assert found["model.tables.default.num_remainders"] == 3
    assert found["data.batch_size"] == 8
    assert found["trainer.EarlyStopping.patience"] == 2
    assert not {"data.path", "model.schema", "trainer.max_epochs", "trainer.logger"} & set(found)
    assert not any("ModelCheckpoint" in name for name in found)
    assert run_settings(config(final_learning_rate_fraction=0.1))["trainer.max_epochs"] == 3


@pytest.mark.parametrize(
    ("before", "here", "told"),
    [
        ({"data.batch_size": 8}, {"data.batch_size": 9}, ["data.batch_size: 8 before, 9 now"]),
        ({"data.shuffle": True}, {"data.shuffle": True, "model.clip_rows": None}, []),
        ({"model.assign.large": ["a", "b"]}, {}, ["model.assign.large: ['a', 'b'] before, not set now"]),
        (
            {"model.model": "m.DLRM", "model.model.top_dims": [1]},
            {"model.model": "m.DCNv2", "model.model.dims": [2]},
            ["model.model: DLRM before, DCNv2 now"],
        ),
    ],
)
def test_each_difference_is_told_once(before, here, told):
    assert changed_settings(before, here) == told


def test_many_differences_are_a_line():
    assert in_words([f"s{i}" for i in range(10)]).endswith("s7; and 2 more")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_words(tmp_path_factory.mktemp("words") / "data")


@pytest.fixture(scope="module")
def first(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("first")
    RecsysCLI.launch(["fit", *command(data, root, "--trainer.max_epochs=1", "--seed_everything=0")])
    (path,) = root.rglob("*.ckpt")
    return path


def resume(data, root, first, *more):
    return RecsysCLI.launch(["fit", *command(data, root, "--seed_everything=0", f"--ckpt_path={first}", *more)])


def test_a_resumed_run_says_what_is_other(data, first, tmp_path, capsys):
    assert read(first)[SETTINGS]["data.batch_size"] == 100
    resume(data, tmp_path, first)
    assert "settings:" not in capsys.readouterr().out
    more = ("--data.batch_size=50", "--model.embedding_dropout=0.1", "--data.num_threads=2")
    RecsysCLI.launch(["test", *command(data, tmp_path, f"--ckpt_path={first}", *more)])
    assert "settings:" not in capsys.readouterr().out, "nothing of this matters to a score"
    resume(data, tmp_path, first, *more)
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("settings:"))
    assert line.endswith("model.embedding_dropout: 0.0 before, 0.1 now; data.batch_size: 100 before, 50 now")


def test_other_sizes_are_named_where_nothing_fits(data, first, tmp_path):
    with pytest.raises(ValueError, match=r"does not fit this config: .*LogisticRegression before, DeepFM now"):
        resume(data, tmp_path, first, "--model.model=recsys.models.DeepFM")


@pytest.mark.parametrize("limit", ["max_epochs=1", "max_steps=15", "max_steps=3"])
def test_nothing_left_to_train_is_said_and_leaves_no_folder(data, first, tmp_path, capsys, limit):
    resume(data, tmp_path, first, f"--trainer.{limit}")
    name, _, most = limit.partition("=")
    assert f"has done 1 epochs and 15 steps, and trainer.{name} is {most}; raise it" in capsys.readouterr().out
    assert not list(tmp_path.rglob("version_*"))
