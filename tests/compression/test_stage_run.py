"""A run that was killed goes on where it was, and ends like one that was not."""

import signal

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch.testing import assert_close

from recsys.checkpoints.reading import read
from recsys.compression.config_file import write_config
from recsys.compression.stage_run import fit, is_done
from recsys.configuration.lightning_cli import RecsysCLI
from tests.compression.stage_runs import compress, words_of


class StopAt(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("killed")


def fit_with_a_stop(monkeypatch, *arguments):
    """A run that is killed after two epochs, and goes on."""
    fresh = RecsysCLI.instantiate_trainer

    def with_stop(self, **kwargs):
        trainer = fresh(self, **kwargs)
        trainer.callbacks.append(StopAt(2))
        return trainer

    monkeypatch.setattr(RecsysCLI, "instantiate_trainer", with_stop)
    with pytest.raises(RuntimeError, match="killed"):
        fit(*arguments)
    monkeypatch.setattr(RecsysCLI, "instantiate_trainer", fresh)
    return fit(*arguments)


@pytest.mark.parametrize("given", [False, True], ids=["drawn", "given"])
def test_a_run_that_was_killed_goes_on_and_ends_alike(given, prepared, tmp_path, monkeypatch):
    words = [*words_of(prepared, "optembed"), "--trainer.max_epochs=3"]
    state = None
    if given:
        cli = RecsysCLI.launch(words, run=False)
        cli.model.configure_model()
        state = {
            name: value * 0.5 if value.is_floating_point() else value for name, value in cli.model.state_dict().items()
        }
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    found = fit(words, whole, state)
    assert not is_done(killed)
    assert fit_with_a_stop(monkeypatch, words, killed, state)["epochs"] == found["epochs"] == 3
    assert is_done(killed)
    first, second = (read(folder / "last.ckpt")["state_dict"] for folder in (whole, killed))
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert_close(second[name], value, rtol=1e-5, atol=1e-6, msg=name)
    if state is not None:
        assert not all(torch.equal(first[name], value) for name, value in state.items())


def test_a_run_that_is_told_to_stop_is_not_done_and_ends_with_the_code_of_the_signal(prepared, tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise SIGTERMException

    monkeypatch.setattr("lightning.pytorch.Trainer.fit", stopped)
    with pytest.raises(SystemExit) as stop:
        fit(words_of(prepared, "pep"), tmp_path / "out")
    assert stop.value.code == 128 + signal.SIGTERM
    assert not is_done(tmp_path / "out")


def test_a_run_that_ends_before_its_first_epoch_does_is_said(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.Trainer.fit", lambda *_, **__: None)
    monkeypatch.setattr("lightning.pytorch.Trainer.interrupted", False)
    with pytest.raises(ValueError, match="ended before its first epoch had, with nothing to go on with; give it more"):
        fit(words_of(prepared, "pep"), tmp_path / "out")
    assert not is_done(tmp_path / "out")


def test_a_run_that_leaves_no_checkpoint_is_refused_before_it_begins(prepared, tmp_path, capsys):
    words = [*words_of(prepared, "pep"), "--budget_fraction", "20%", "--trainer.fast_dev_run=true"]
    assert compress(tmp_path / "out", *words) == 2
    assert "error: trainer.fast_dev_run leaves no checkpoint, which the next step" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_config_is_whole_or_not_there(prepared, tmp_path, monkeypatch):
    """Stages are done where it is."""
    cli, file = RecsysCLI.launch(words_of(prepared, "pep"), run=False), tmp_path / "config.yaml"

    def on_a_full_disk(path, content, **_):
        with path.open("w") as written:
            written.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", on_a_full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_config(cli, tmp_path / "model.ckpt", file)
    assert not file.exists()
