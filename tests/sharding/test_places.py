"""Two processes save where something else is: all refuse alike, or what is there gives way."""

import torch

from recsys import checkpoint_folder
from tests.sharding.processes import torchrun


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
