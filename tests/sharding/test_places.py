"""Two processes save where something else is: all refuse alike, or what is there gives way."""

import os

import pytest
import torch
import yaml

from recsys.checkpoints import folder as checkpoint_folder
from recsys.checkpoints.io import FolderCheckpointIO
from recsys.sharding.strategy import TorchrecStrategy
from tests.sharding.processes import ROOT, run_module, torchrun


def test_a_folder_of_something_else_is_refused_on_all_processes_alike(tmp_path):
    mine = tmp_path / "mywork.ckpt"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    (tmp_path / "empty.ckpt").mkdir()
    torchrun("place_worker.py", 2, tmp_path)
    one, other = torch.load(tmp_path / "said.pt", weights_only=True)
    assert one == other
    assert one["mywork.ckpt"].startswith(f"ValueError: checkpoint '{mine}' is a folder that holds ['notes.txt']")
    assert one["empty.ckpt"] is None
    assert [each.name for each in mine.iterdir()] == ["notes.txt"]
    assert checkpoint_folder.read(tmp_path / "empty.ckpt")["state_dict"]["weight"].tolist() == [1, 1, 1]


def test_a_file_gives_way_to_the_folder_of_two_processes(tmp_path):
    torch.save({"state_dict": {"weight": torch.zeros(3)}}, tmp_path / "last.ckpt")
    (tmp_path / "notes.ckpt").write_text("mine")
    torchrun("place_worker.py", 2, tmp_path)
    one, other = torch.load(tmp_path / "said.pt", weights_only=True)
    assert one == other
    assert one["last.ckpt"] is None
    assert "is a file that is no checkpoint" in one["notes.ckpt"]
    assert (tmp_path / "notes.ckpt").read_text() == "mine"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["last.ckpt", "notes.ckpt", "said.pt"]
    assert checkpoint_folder.read(tmp_path / "last.ckpt")["state_dict"]["weight"].tolist() == [1, 1, 1]


def fit(prepared, folder, devices, max_epochs, *more):
    """Train on a number of processes, and return the steps in last.ckpt, as one process reads it."""
    keep = {"class_path": "ModelCheckpoint", "init_args": {"dirpath": str(folder / "ck"), "save_last": True}}
    strategy = {"strategy": "torchrec"} if devices > 1 else {}
    config = {"trainer": {"callbacks": [keep], "devices": devices, **strategy}}
    (folder / "trainer.yaml").write_text(yaml.safe_dump(config))
    command = ["recsys", "fit", "-c", str(ROOT / "configs" / "criteo.yaml")]
    command += ["-c", str(folder / "trainer.yaml"), f"--data.init_args.path={prepared}", "--trainer.accelerator=cpu"]
    command += ["--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={folder}"]
    command += [f"--data.init_args.batch_size={512 // devices}", f"--trainer.max_epochs={max_epochs}", *more]
    run_module(folder, *command)
    return FolderCheckpointIO().load_checkpoint(folder / "ck" / "last.ckpt")["global_step"]


def test_two_processes_one_and_two_again_go_on_in_the_same_place(prepared, tmp_path):
    last = tmp_path / "ck" / "last.ckpt"
    steps = fit(prepared, tmp_path, 2, 1)
    assert last.is_dir()
    assert steps > 0
    assert fit(prepared, tmp_path, 1, 2, f"--ckpt_path={last}") == 2 * steps
    assert last.is_file()
    assert fit(prepared, tmp_path, 2, 3, f"--ckpt_path={last}") == 3 * steps
    assert last.is_dir()
    assert not [each for each in last.parent.iterdir() if each.suffix != ".ckpt"]


class Runs:
    def __reduce__(self):
        return os.mkdir, ("was_executed",)


def test_the_strategy_refuses_a_file_with_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"callbacks": Runs()}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"is not loaded because that could run code: posix.mkdir\.$"):
        TorchrecStrategy().load_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "was_executed").exists()
