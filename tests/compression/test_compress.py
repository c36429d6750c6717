"""The command on a small trained model: what it writes is read by every other command, and predicts alike."""

import json
import shutil

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from torch.testing import assert_close

from recsys.checkpoints import consolidate, load
from recsys.checkpoints.reading import read
from recsys.cli import main
from recsys.compression.methods import METHODS
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.tables.sizing import stored_bytes
from tests.trained_clicks import train_clicks


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    return train_clicks(prepared, tmp_path_factory.mktemp("trained"))


def compress(*words):
    with pytest.raises(SystemExit) as stop:
        main(["compress", *map(str, words)])
    return stop.value.code


@pytest.fixture(scope="module")
def compressed(trained, tmp_path_factory):
    checkpoint, words = trained
    out = tmp_path_factory.mktemp("compressed") / "out"
    assert compress(checkpoint, out, *words, "--budget_fraction", "30%", "--sweep", "50%") == 0
    return out


def test_the_checkpoint_is_smaller_and_its_bytes_are_those_said(trained, compressed):
    report = json.loads((compressed / "compression.json").read_text())
    assert {trial["method"] for trial in report["trials"]} == set(METHODS)
    collection = load(compressed / "model.ckpt")
    names = [feature.table for feature in collection.features]
    taken = stored_bytes({name: collection.table(name) for name in names})
    budget = int(0.3 * report["full_bytes"])
    chosen = [
        trial for trial in report["trials"] if trial["budget_bytes"] == budget and trial["method"] == report["chosen"]
    ]
    assert taken == chosen[0]["num_bytes"] <= budget
    least = [trial["val"]["auc"]["low"] for trial in report["trials"] if trial["budget_bytes"] == budget]
    assert chosen[0]["val"]["auc"]["low"] == max(least)
    saved = {
        name: sum(value.numel() * value.element_size() for value in read(path)["state_dict"].values())
        for name, path in (("before", trained[0]), ("after", compressed / "model.ckpt"))
    }
    assert saved["after"] < saved["before"]
    page = (compressed / "report.html").read_text()
    assert page.count("<svg") >= 1
    assert (compressed / "auc_against_bytes.png").is_file()


def test_lightning_tests_it_with_the_metrics_that_were_printed(trained, compressed, tmp_path):
    report = json.loads((compressed / "compression.json").read_text())
    chosen = [
        trial
        for trial in report["trials"]
        if trial["method"] == report["chosen"] and trial["budget_bytes"] == int(0.3 * report["full_bytes"])
    ]
    root = f"--trainer.default_root_dir={tmp_path}"
    cli = RecsysCLI.launch(
        ["test", "-c", str(compressed / "config.yaml"), root, f"--ckpt_path={compressed / 'model.ckpt'}"]
    )
    assert float(cli.trainer.callback_metrics["test/auc"]) == pytest.approx(
        chosen[0]["test"]["auc"]["second"], abs=1e-9
    )
    assert float(cli.trainer.callback_metrics["test/log_loss"]) == pytest.approx(
        chosen[0]["test"]["log_loss"]["second"], abs=1e-6
    )


def test_other_commands_read_it(compressed, tmp_path, capsys):
    for command in ("describe", "evaluate"):
        with pytest.raises(SystemExit) as stop:
            main([command, "--ckpt_path", str(compressed / "model.ckpt"), "-c", str(compressed / "config.yaml")])
        assert stop.value.code == 0
    consolidate(compressed / "model.ckpt", tmp_path / "plain")
    ids = torch.tensor([[0, 7], [3, 299], [899, 0]])
    first, second = load(compressed / "model.ckpt"), load(tmp_path / "plain")
    bags = {"tags": bag_of(torch.tensor([1, 2]), torch.tensor([2, 0]))}
    assert_close(first(ids, bags), second(ids, bags), rtol=0, atol=0)


def bag_of(values, lengths):
    from recsys.tables import Bag

    return Bag(values, lengths)


def test_it_is_exported(compressed, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(
            ["export", f"{compressed / 'model.ckpt'}", f"{tmp_path / 'served'}", "-c", f"{compressed / 'config.yaml'}"]
        )
    assert stop.value.code == 0
    assert "compared with the checkpoint on 500 samples" in capsys.readouterr().out


def test_it_trains_on(compressed, tmp_path):
    words = ["-c", str(compressed / "config.yaml"), "--trainer.max_epochs=1", f"--trainer.default_root_dir={tmp_path}"]
    cli = RecsysCLI.launch(["fit", *words])
    again = cli.trainer.checkpoint_callback.best_model_path
    tables = load(again).tables._modules
    assert [type(each) for each in tables.values()] == [
        type(each) for each in load(compressed / "model.ckpt").tables._modules.values()
    ]


class NoteStart(Callback):
    def on_train_start(self, trainer, pl_module):
        self.step, self.epoch = trainer.global_step, trainer.current_epoch
        self.state = {name: value.clone() for name, value in pl_module.state_dict().items()}


def test_training_begins_with_its_weights_where_they_are_given(compressed, tmp_path, monkeypatch, capsys):
    fresh, start = RecsysCLI.instantiate_trainer, NoteStart()

    def noted(self, **kwargs):
        trainer = fresh(self, **kwargs)
        trainer.callbacks.append(start)
        return trainer

    monkeypatch.setattr(RecsysCLI, "instantiate_trainer", noted)
    words = ["-c", str(compressed / "config.yaml"), "--trainer.max_epochs=1", f"--trainer.default_root_dir={tmp_path}"]
    cli = RecsysCLI.launch(["fit", *words, f"--ckpt_path={compressed / 'model.ckpt'}"])
    assert "without optimizer state: a run of its own begins with them" in capsys.readouterr().out
    expected = read(compressed / "model.ckpt")["state_dict"]
    assert start.state.keys() == expected.keys()
    assert all(torch.equal(start.state[name], value) for name, value in expected.items())
    assert (start.step, start.epoch) == (0, 0)
    assert cli.trainer.global_step > 0
    after = cli.model.state_dict()
    assert not all(torch.equal(after[name], value) for name, value in expected.items())


def test_fine_tuning_is_kept_where_it_validates_better(trained, tmp_path):
    checkpoint, words = trained
    out = tmp_path / "out"
    asked = ["--budget_fraction", "10%", "--method", "svd", "--finetune", "2"]
    assert compress(checkpoint, out, *words, *asked) == 0
    plain, tuned = json.loads((out / "compression.json").read_text())["trials"]
    assert (plain["method"], tuned["method"]) == ("svd", "svd, fine-tuned")
    assert plain["num_bytes"] == tuned["num_bytes"]
    better = tuned if tuned["val"]["auc"]["second"] > plain["val"]["auc"]["second"] else plain
    command = ["test", "-c", str(out / "config.yaml"), f"--ckpt_path={out / 'model.ckpt'}"]
    cli = RecsysCLI.launch([*command, f"--trainer.default_root_dir={tmp_path}"])
    assert float(cli.trainer.callback_metrics["test/auc"]) == pytest.approx(better["test"]["auc"]["second"], abs=1e-9)
    assert plain["test"]["log_loss"]["second"] != tuned["test"]["log_loss"]["second"], "it has trained"
    assert not {"optimizer_states", "loops", "callbacks"} & set(read(out / "model.ckpt")), "a run of its own begins so"


def test_the_folder_may_be_moved(compressed, tmp_path, monkeypatch, capsys):
    settings = yaml.safe_load((compressed / "config.yaml").read_text())["model"]["init_args"]
    assert settings["tables"]["default"]["init_args"]["path"] == "model.ckpt"
    moved = shutil.copytree(compressed, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    command = ["-c", "moved/config.yaml", "--trainer.max_epochs=1", "--ckpt_path"]
    RecsysCLI.launch(["fit", *command, "moved/model.ckpt"])
    saved = next(tmp_path.glob("lightning_logs/*/config.yaml")) if list(tmp_path.glob("lightning_logs")) else None
    assert saved is None or "moved/model.ckpt" in saved.read_text()
    (moved / "model.ckpt").rename(moved / "other.ckpt")
    with pytest.raises(SystemExit):
        main(["test", *command, "moved/other.ckpt"])
    assert "path 'model.ckpt' does not exist, neither from here nor beside the config" in capsys.readouterr().err


def test_a_precision_that_rounds_the_tables_is_refused_before_work(trained, tmp_path, capsys):
    checkpoint, words = trained
    asked = ["--budget_fraction", "30%", "--trainer.precision=16-true"]
    assert compress(checkpoint, tmp_path / "out", *words, *asked) == 2
    assert compress(tmp_path / "out", *words, "--model.init_args.tables={default: PEPTable}", *asked) == 2
    said = "trainer.precision: 16-true rounds them with the whole model; give --trainer.precision=32-true"
    assert capsys.readouterr().err.count(said) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--budget_bytes or --budget_fraction"),
        (["--budget_fraction", "10%", "--budget_bytes", "1MB"], "not both"),
        (["--budget_fraction", "0"], "must be in (0, 1]"),
        (["--sweep", "10%", "0"], "--sweep must be in (0, 1], or a percentage such as 10%, got '0'"),
        (["--sweep", "10%", "--finetune", "1"], "--finetune must be at least 0 and needs a budget"),
        (["--budget_fraction", "9%", "--method", "svd", "--metric", "auc"], "leave it out with --method svd"),
        (["--budget_fraction", "10%", "--stage", "search"], "--stage is for compression in stages"),
        (["--budget_fraction", "10%", "--method", "magnitud"], "did you mean 'magnitude'"),
    ],
)
def test_words_that_do_not_fit_are_refused_before_anything_is_read(words, said, tmp_path, capsys):
    assert compress(tmp_path / "none.ckpt", tmp_path / "out", *words) == 2
    assert said in capsys.readouterr().err


def test_an_out_with_files_is_refused(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert compress(tmp_path / "none.ckpt", tmp_path, "--budget_fraction", "10%") == 2
    assert "no empty folder" in capsys.readouterr().err


def test_a_budget_that_a_method_cannot_meet_names_the_smallest(trained, tmp_path, capsys):
    checkpoint, words = trained
    asked = ["--method", "svd", "--budget_bytes", "100"]
    assert compress(checkpoint, tmp_path / "out", *words, *asked) == 2
    assert "the smallest budget that can is" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_tables_that_are_left_no_rows_are_named(trained, tmp_path, capsys):
    """Below the narrowest rows of all tables svd leaves some none."""
    checkpoint, words = trained
    out = tmp_path / "out"
    assert compress(checkpoint, out, *words, "--method", "svd", "--budget_fraction", "5%", "--sweep", "60%") == 0
    wide, narrow = json.loads((out / "compression.json").read_text())["trials"]
    assert wide["without_rows"] == []
    collection = load(out / "model.ckpt")
    lost = [name for name in narrow["tables"] if not collection.table(name).physical_tables()]
    assert narrow["without_rows"] == lost
    assert 0 < len(lost) < len(narrow["tables"])
    budget, num_tables, page = narrow["budget_bytes"], len(narrow["tables"]), (out / "report.html").read_text()
    said = f"svd in {budget:,} bytes leaves {len(lost)} of {num_tables} tables no rows"
    assert said in " ".join(capsys.readouterr().out.split())
    assert said in page
    assert f": {', '.join(lost)}." in page
