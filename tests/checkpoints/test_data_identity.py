"""A checkpoint knows its data: other ids are refused or carried over by value, and nothing is scored unloaded."""

import json
import shutil

import pytest
import torch
from lightning.pytorch.cli import LightningCLI

from recsys.checkpoints.reading import KEY, read
from recsys.cli import main
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.prepare.files.fingerprints import of_folder, of_split, prepared_marks
from tests.checkpoints.words import WORDS, command, write_words

REVERSED = WORDS[::-1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder and the last checkpoint of a run on it."""
    root = tmp_path_factory.mktemp("trained")
    data = write_words(root / "data")
    RecsysCLI.launch(["fit", *command(data, root)])
    (checkpoint,) = root.rglob("*.ckpt")
    return data, checkpoint


def auc_of(*words):
    return float(RecsysCLI.launch(["test", *words]).trainer.callback_metrics["test/auc"])


def said(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_fingerprints_are_of_values_and_ids_and_not_of_files(tmp_path):
    first, same = write_words(tmp_path / "a"), write_words(tmp_path / "b", seed=1)
    assert prepared_marks(first) == prepared_marks(same)
    other = prepared_marks(write_words(tmp_path / "c", REVERSED))["ids"]
    assert other["word"] != prepared_marks(first)["ids"]["word"]
    assert other["hour"] == prepared_marks(first)["ids"]["hour"]
    assert of_split(first / "train") != of_split(same / "train")
    shutil.copytree(first, tmp_path / "copy")
    assert of_folder(first) == of_folder(tmp_path / "copy")


def test_the_checkpoint_says_what_it_was_trained_on(trained):
    data, checkpoint = trained
    kept = read(checkpoint)[KEY]["data"]
    assert kept["path"] == str(data)
    assert kept["ids"] == prepared_marks(data)["ids"]
    assert kept["dense"] == ["I1"]


@pytest.mark.parametrize("name", ["test", "validate", "predict", "fit"])
def test_renumbered_ids_are_refused_by_every_command(trained, tmp_path, capsys, name):
    data, checkpoint = trained
    other = write_words(tmp_path / "data", REVERSED)
    error = said(capsys, name, *command(other, tmp_path), f"--ckpt_path={checkpoint}")
    assert "the ids of 'word' stand for other values" in error
    assert "'hour'" not in error
    assert f"--remap {data}" in error


@pytest.mark.parametrize("dense", [("I1", "I2"), (), ("I2", "I1")])
def test_dense_columns_are_matched_by_name(trained, tmp_path, capsys, dense):
    other = write_words(tmp_path / "data", dense=dense)
    error = said(capsys, "test", *command(other, tmp_path), f"--ckpt_path={trained[1]}")
    assert "the dense columns are 'I1' in the checkpoint and" in error
    assert "size mismatch" not in error


def test_the_same_numbering_of_another_sample_is_taken(trained, tmp_path):
    other = write_words(tmp_path / "data", seed=5)
    assert auc_of(*command(other, tmp_path), f"--ckpt_path={trained[1]}") == 1.0


def test_features_in_another_order_are_refused(trained, tmp_path, capsys):
    other = write_words(tmp_path / "data")
    content = json.loads((other / "schema.json").read_text())
    content["features"][1:] = content["features"][:0:-1]
    (other / "schema.json").write_text(json.dumps(content))
    error = said(capsys, "test", *command(other, tmp_path), f"--ckpt_path={trained[1]}")
    assert "features are in the order word, hour in the checkpoint and hour, word here" in error


def test_remap_carries_rows_over_by_value(trained, tmp_path, capsys):
    data, checkpoint = trained
    words = ["new1", *REVERSED[:-2], "new2"]
    other = write_words(tmp_path / "data", words)
    remap = (f"--ckpt_path={checkpoint}", f"--remap={data}")
    cli = RecsysCLI.launch(["test", *command(other, tmp_path), *remap])
    assert "'word': 10 of 12 values keep their rows, the others begin anew" in capsys.readouterr().out
    old = read(checkpoint)["state_dict"]
    (key,) = (name for name in old if name.endswith("word.weight"))
    rows = cli.model.collection.lookup.weight("word")
    for place, word in enumerate(words, start=1):
        if word in WORDS:
            assert torch.equal(rows[place], old[key][WORDS.index(word) + 1])
    assert auc_of(*command(write_words(tmp_path / "all", REVERSED), tmp_path), *remap) == 1.0
    fitted = RecsysCLI.launch(["fit", *command(other, tmp_path), *remap, "--trainer.max_epochs=1"])
    assert fitted.trainer.global_step == 15


def test_evaluate_carries_rows_over_too(trained, tmp_path, capsys):
    data, checkpoint = trained
    words = command(write_words(tmp_path / "data", REVERSED), tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", f"--ckpt_path={checkpoint}", *words, f"--remap={data}"])
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert f"carried over from '{data}' by value" in said
    assert "│ auc                        │ 1.0000 │" in said
    with pytest.raises(SystemExit):
        main(["evaluate", f"--ckpt_path={checkpoint}", *command(data, tmp_path), f"--remap={data}"])
    assert "no row moves" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model.tables={default: {class_path: HashTable, init_args: {num_rows: 8}}}"], "HashTable 'word' belong to"),
        (["--model.embedding_dim=8"], "row_dim is 4 in the checkpoint and 8 here"),
    ],
)
def test_what_cannot_be_carried_over_is_refused(trained, tmp_path, capsys, more, message):
    data, checkpoint = trained
    other = write_words(tmp_path / "data", REVERSED)
    words = command(other, tmp_path, *more)
    assert message in said(capsys, "test", *words, f"--ckpt_path={checkpoint}", f"--remap={data}")


def test_remap_wants_the_folder_of_the_checkpoint(trained, tmp_path, capsys):
    other = write_words(tmp_path / "data", REVERSED)
    words = ["test", *command(other, tmp_path), f"--ckpt_path={trained[1]}"]
    assert "the ids of 'word' stand for other values there" in said(capsys, *words, f"--remap={other}")
    assert "it has no vocabularies" in said(capsys, *words, f"--remap={tmp_path / 'none'}")


@pytest.mark.parametrize("name", ["test", "validate", "predict"])
def test_nothing_is_scored_without_weights_unless_insisted_on(trained, tmp_path, capsys, name):
    words = [name, *command(trained[0], tmp_path)]
    assert f"{name}: --ckpt_path is missing" in said(capsys, *words)
    RecsysCLI.launch([*words, "--untrained=true"])


def test_an_explicit_checkpoint_wins_over_the_null_of_a_saved_config_in_any_order(trained, tmp_path, capsys):
    checkpoint = trained[1]
    (config,) = checkpoint.parents[1].glob("config.yaml")
    assert "ckpt_path: null" in config.read_text()
    for words in (["-c", config, "--ckpt_path", checkpoint], ["--ckpt_path", checkpoint, "-c", config]):
        for name in ("test", "validate", "fit"):
            root = [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=3"]
            cli = RecsysCLI.launch([name, *map(str, words), *root])
            assert cli.trainer.global_step == (45 if name == "fit" else 0)
            assert f"weights: {checkpoint}, epoch" in capsys.readouterr().out
    main_words = ["--ckpt_path", str(checkpoint), "-c", str(config)]
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *main_words])
    assert stop.value.code == 0
    with pytest.raises(SystemExit) as stop:
        main(["describe", *main_words])
    assert stop.value.code == 0


def test_every_command_takes_a_config_that_another_has_written(trained, tmp_path):
    data, checkpoint = trained
    for name in ("test", "predict"):
        root = tmp_path / name
        RecsysCLI.launch([name, *command(data, root), f"--ckpt_path={checkpoint}"])
        (config,) = root.rglob("config.yaml")
        RecsysCLI.launch(["fit", "-c", str(config), f"--trainer.default_root_dir={root}", "--trainer.max_steps=1"])


def test_the_base_class_does_not_read_checkpoints():
    assert RecsysCLI._parse_ckpt_path is not LightningCLI._parse_ckpt_path
