"""Checkpoint folders: what is written is read, by a run that was killed while it saved too, and nothing is executed."""

import os
import traceback

import pytest
import torch

from recsys.checkpoints import file as checkpoint_file
from recsys.checkpoints import folder as checkpoint_folder
from recsys.checkpoints import reading as checkpoints
from recsys.checkpoints.io import FolderCheckpointIO


def checkpoint_of(step):
    tensor = torch.full((400, 300), float(step))
    return {
        "state_dict": {"model.weight": tensor, "rows.weight": tensor + 0.5, "num_steps": torch.tensor(step)},
        "optimizer_states": [
            {"state": {0: {"exp_avg": tensor - 1, "step": torch.tensor(7.0)}}, "param_groups": [{"betas": (0.9, 0.99)}]}
        ],
        "loops": {"fit_loop": {"epoch": step, "state": [1, 2]}},
        "empty": torch.zeros(0, 4),
        **{"epoch": step, "global_step": step, "pytorch-lightning_version": "2.0.0"},
    }


def assert_is(found, step):
    wanted = checkpoint_of(step)
    assert found["loops"] == wanted["loops"]
    assert found["optimizer_states"][0]["param_groups"] == [{"betas": (0.9, 0.99)}]
    for one, other in (
        (found["state_dict"], wanted["state_dict"]),
        (found["optimizer_states"][0]["state"][0], wanted["optimizer_states"][0]["state"][0]),
    ):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in other)


def test_what_is_written_is_read(tmp_path):
    checkpoint_folder.write(tmp_path / "last.ckpt", checkpoint_of(1))
    assert_is(checkpoint_folder.read(tmp_path / "last.ckpt"), 1)
    rest = checkpoint_folder.read_rest(tmp_path / "last.ckpt")
    assert rest["loops"] == checkpoint_of(1)["loops"]
    assert "model.weight" not in rest["state_dict"]


def test_a_second_checkpoint_replaces_the_first(tmp_path):
    for step in (1, 2):
        checkpoint_folder.write(tmp_path / "last.ckpt", checkpoint_of(step))
    assert_is(checkpoint_folder.read(tmp_path / "last.ckpt"), 2)
    assert len(list((tmp_path / "last.ckpt").iterdir())) == 2


def files_of(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (["notes.txt", "data/ids.csv"], r"\['data', 'notes.txt'\]"),
        (["part-0000000a"], r"\['part-0000000a'\]"),
        (["part-00000.parquet", "current"], r"\['current', 'part-00000.parquet'\]"),
        (["a", "b", "c", "d", "sharding_plan.json"], r"\['a', 'b', 'c'\] and 1 more"),
    ],
)
def test_a_folder_of_something_else_is_refused_and_stays_as_it_was(tmp_path, names, named):
    folder = tmp_path / "mywork"
    files_of(folder, names)
    before = sorted(folder.rglob("*"))
    with pytest.raises(
        ValueError, match=rf"'{folder}' is a folder that holds {named}, which no checkpoint wrote; give"
    ):
        checkpoint_folder.write(folder, checkpoint_of(1))
    assert sorted(folder.rglob("*")) == before
    assert all((folder / name).read_text() == "mine" for name in names)


def test_what_the_user_put_into_a_checkpoint_stays(tmp_path):
    folder = tmp_path / "last.ckpt"
    checkpoint_folder.write(folder, checkpoint_of(1))
    files_of(folder, ["notes.txt", "data/ids.csv", "sharding_plan.json"])
    checkpoint_folder.write(folder, checkpoint_of(2))
    assert_is(checkpoint_folder.read(folder), 2)
    found = {each.name for each in folder.iterdir() if not each.name.startswith("part-")}
    assert found == {"current", "notes.txt", "data"}
    assert (folder / "data" / "ids.csv").read_text() == "mine"


def test_what_a_first_save_left_when_it_was_killed_gives_way(tmp_path):
    folder = tmp_path / "last.ckpt"
    files_of(folder, ["part-0123abcd/shard.safetensors", "current.part-0123abcd"])
    checkpoint_folder.write(folder, checkpoint_of(1))
    assert_is(checkpoint_folder.read(folder), 1)
    assert len(list(folder.iterdir())) == 2


def test_a_file_gives_way_to_a_folder(tmp_path):
    torch.save(checkpoint_of(1), tmp_path / "last.ckpt")
    for step in (2, 3):
        checkpoint_folder.write(tmp_path / "last.ckpt", checkpoint_of(step))
        assert_is(checkpoint_folder.read(tmp_path / "last.ckpt"), step)
        assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_link_gives_way_and_what_it_leads_to_stays(tmp_path):
    checkpoint_folder.write(tmp_path / "best.ckpt", checkpoint_of(1))
    (tmp_path / "last.ckpt").symlink_to("best.ckpt")
    checkpoint_folder.write(tmp_path / "last.ckpt", checkpoint_of(2))
    assert_is(checkpoint_folder.read(tmp_path / "best.ckpt"), 1)
    assert_is(checkpoint_folder.read(tmp_path / "last.ckpt"), 2)


@pytest.mark.parametrize("moment", ["_save_tensors", "_publish", "put_in_place"])
def test_a_failed_save_leaves_the_file_as_it_was(tmp_path, monkeypatch, moment):
    torch.save(checkpoint_of(1), tmp_path / "last.ckpt")

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint_folder, moment, full)
    with pytest.raises(OSError, match="no space left"):
        checkpoint_folder.write(tmp_path / "last.ckpt", checkpoint_of(2))
    assert_is(torch.load(tmp_path / "last.ckpt", weights_only=True), 1)
    assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_folder_gives_way_to_a_file(tmp_path):
    checkpoint_folder.write(tmp_path / "last.ckpt", checkpoint_of(1))
    for step in (2, 3):
        FolderCheckpointIO().save_checkpoint(checkpoint_of(step), tmp_path / "last.ckpt")
        assert (tmp_path / "last.ckpt").is_file()
        assert_is(FolderCheckpointIO().load_checkpoint(tmp_path / "last.ckpt"), step)
        assert [each.name for each in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_link_to_a_folder_gives_way_to_a_file_and_the_folder_stays(tmp_path):
    checkpoint_folder.write(tmp_path / "best.ckpt", checkpoint_of(1))
    (tmp_path / "last.ckpt").symlink_to("best.ckpt")
    FolderCheckpointIO().save_checkpoint(checkpoint_of(2), str(tmp_path / "last.ckpt"))
    assert_is(FolderCheckpointIO().load_checkpoint(tmp_path / "last.ckpt"), 2)
    assert_is(checkpoint_folder.read(tmp_path / "best.ckpt"), 1)


def test_a_file_does_not_replace_a_folder_with_files_of_the_user(tmp_path):
    checkpoint_folder.write(tmp_path / "last.ckpt", checkpoint_of(1))
    files_of(tmp_path, ["last.ckpt/notes.txt", "mywork/notes.txt"])
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for name, words in (
        ("last.ckpt", r"holds \['notes.txt'\], which"),
        ("mywork", r"holds \['notes.txt'\], which"),
        ("empty", "is an empty folder"),
    ):
        with pytest.raises(ValueError, match=words):
            FolderCheckpointIO().save_checkpoint(checkpoint_of(2), tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def every_header_byte(file):
    """The content of a file of safetensors with each byte of its header changed in turn."""
    content = file.read_bytes()
    for place in range(8 + int.from_bytes(content[:8], "little")):
        yield content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_a_changed_header_is_named(tmp_path):
    folder = tmp_path / "last.ckpt"
    checkpoint_folder.write(folder, checkpoint_of(1))
    (file,) = folder.rglob("*.safetensors")
    whole = file.read_bytes()
    for content in every_header_byte(file):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=f"is damaged: the header of '{file}' has changed"):
            checkpoint_folder.read(folder)
    file.write_bytes(whole)
    assert_is(checkpoint_folder.read(folder), 1)


def test_a_damaged_rest_is_named(tmp_path):
    folder = tmp_path / "last.ckpt"
    checkpoint_folder.write(folder, checkpoint_of(1))
    (file,) = folder.rglob("rest.pt")
    file.write_bytes(file.read_bytes()[:-40])
    for read in (checkpoint_folder.read, checkpoint_folder.read_rest):
        with pytest.raises(ValueError, match=f"'{file}' cannot be read"):
            read(folder)


@pytest.mark.parametrize("path", ["memory://bucket/x.ckpt", "s3://bucket/x.ckpt"])
def test_a_remote_path_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"'{path}' is remote"):
        checkpoint_folder.write(path, checkpoint_of(1))
    assert not list(tmp_path.iterdir())


class Runs:
    def __reduce__(self):
        return os.mkdir, ("was_executed",)


def test_code_in_a_checkpoint_is_not_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "last.ckpt"
    checkpoint_folder.write(folder, checkpoint_of(1))
    torch.save({"callbacks": Runs()}, folder / (folder / "current").read_text() / "rest.pt")
    with pytest.raises(ValueError, match="holds more than tensors and plain values"):
        checkpoint_folder.read(folder)
    assert not (tmp_path / "was_executed").exists()


def test_a_file_with_code_is_refused_without_advice_to_run_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "last.ckpt"
    torch.save({"callbacks": Runs()}, file)
    wanted = (
        f"checkpoint '{file}' holds more than tensors and plain values, and is not loaded because that could run "
        "code: posix.mkdir."
    )
    for load in (FolderCheckpointIO().load_checkpoint, checkpoints.read):
        with pytest.raises(ValueError, match="could run code") as refused:
            load(file)
        assert str(refused.value) == wanted
        assert "weights_only" not in "".join(traceback.format_exception(refused.value))
    assert not (tmp_path / "was_executed").exists()


def test_what_could_not_be_read_again_is_refused_before_anything_is_replaced(tmp_path):
    checkpoint_folder.write(tmp_path / "last.ckpt", checkpoint_of(1))
    with pytest.raises(ValueError, match=r"entries \['callbacks'\] hold more than tensors and plain values"):
        checkpoint_folder.write(tmp_path / "last.ckpt", {**checkpoint_of(2), "callbacks": {"where": tmp_path}})
    assert_is(checkpoint_folder.read(tmp_path / "last.ckpt"), 1)


@pytest.mark.parametrize(
    ("save", "module", "step"),
    [
        (lambda folder: checkpoint_folder.write(folder, checkpoint_of(2)), checkpoint_folder, "_finish"),
        (
            lambda folder: FolderCheckpointIO().save_checkpoint(checkpoint_of(2), folder),
            checkpoint_file,
            "put_in_place",
        ),
    ],
    ids=["folder", "file"],
)
def test_a_failed_save_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, save, module, step):
    checkpoint_folder.write(tmp_path / "last.ckpt", checkpoint_of(1))
    before = sorted(tmp_path.rglob("*"))

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(module, step, full)
    with pytest.raises(OSError, match="no space left"):
        save(tmp_path / "last.ckpt")
    assert sorted(tmp_path.rglob("*")) == before
    assert_is(checkpoint_folder.read(tmp_path / "last.ckpt"), 1)


def test_damage_is_named(tmp_path):
    folder = tmp_path / "last.ckpt"
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        checkpoint_folder.read(folder)
    checkpoint_folder.write(folder, checkpoint_of(1))
    part = folder / (folder / "current").read_text()
    (file,) = part.glob("*.safetensors")
    for content in (file.read_bytes()[:-1], None):
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ValueError, match=rf"'{file}' is missing or not [\d,]+ bytes"):
            checkpoint_folder.read(folder)
    (folder / "current").write_text("../elsewhere")
    with pytest.raises(ValueError, match=r"is damaged: '../elsewhere' is not a folder in it"):
        checkpoint_folder.read(folder)


def test_a_file_is_not_overwritten_by_a_folder(tmp_path):
    (tmp_path / "last.ckpt").write_text("a file")
    with pytest.raises(ValueError, match="is a file that is no checkpoint; give another path or remove it"):
        checkpoint_folder.write(tmp_path / "last.ckpt", checkpoint_of(1))
