"""Checkpoint folders: what is written is read, by a run that was killed while it saved too, and nothing is executed."""

import multiprocessing
import os
import signal
import time
import traceback
from pathlib import Path

import pytest
import torch

from recsys.checkpoints import file as checkpoint_file
from recsys.checkpoints import folder as checkpoint_folder
from recsys.checkpoints import place as checkpoint_place
from recsys.checkpoints import reading as checkpoints
from recsys.checkpoints.io import FolderCheckpointIO

PROCESSES = multiprocessing.get_context("forkserver")
"""A fork of this process would lack torch's threads and wait for them; the server has none, and torch already."""
PROCESSES.set_forkserver_preload(["torch", "recsys.checkpoints.io"])


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


def save_until_killed(folder):
    for step in range(1, 10_000):
        checkpoint_folder.write(folder, checkpoint_of(step))


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.007, 0.011, 0.02, 0.031])
def test_a_run_killed_at_any_moment_leaves_a_whole_checkpoint(tmp_path, delay):
    process = PROCESSES.Process(target=save_until_killed, args=(tmp_path / "last.ckpt",))
    process.start()
    deadline = time.monotonic() + 60
    while not checkpoint_folder.is_folder(tmp_path / "last.ckpt") and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join()
    found = checkpoint_folder.read(tmp_path / "last.ckpt")
    assert_is(found, found["loops"]["fit_loop"]["epoch"])
    checkpoint_folder.write(tmp_path / "last.ckpt", checkpoint_of(3))
    assert len(list((tmp_path / "last.ckpt").iterdir())) == 2


MOMENTS = {
    "before the tensors": "_save_tensors",
    "after the tensors": "_finish",
    "in the midst of the rest": "_to_disk",
    "before it is made current": "_publish",
    "before the one before is removed": "shutil.rmtree",
}


def save_and_be_killed_at(folder, moment):
    holder, _, name = MOMENTS[moment].rpartition(".")
    target = getattr(checkpoint_folder, holder) if holder else checkpoint_folder
    setattr(target, name, lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL))
    checkpoint_folder.write(folder, checkpoint_of(2))


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_while_it_saves_leaves_the_checkpoint_before(tmp_path, moment):
    checkpoint_folder.write(tmp_path / "last.ckpt", checkpoint_of(1))
    arguments = (tmp_path / "last.ckpt", moment)
    process = PROCESSES.Process(target=save_and_be_killed_at, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert_is(checkpoint_folder.read(tmp_path / "last.ckpt"), 2 if "removed" in moment else 1)


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


def replace_file_and_be_killed_at(path, moment):
    kill_at(moment)
    checkpoint_folder.write(path, checkpoint_of(2))


def replace_folder_and_be_killed_at(path, moment):
    kill_at(moment)
    FolderCheckpointIO().save_checkpoint(checkpoint_of(2), path)


def kill_at(moment):
    """Kill this process when it calls a function of this name for the count-th time."""
    name, count = moment
    holder = Path if hasattr(Path, name) else checkpoint_place
    original, left = getattr(holder, name), count

    def killing(*args, **kwargs):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(holder, name, killing)


def read_any(path):
    return checkpoint_folder.read(path) if path.is_dir() else torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("moment", "whole"),
    [
        (("rename", 1), {"last.ckpt": 1}),
        (("rename", 2), {"last.ckpt.replaced": 1, "last.ckpt.partial": 2}),
        (("_remove", 1), {"last.ckpt": 2}),
    ],
)
@pytest.mark.parametrize("replace", [replace_file_and_be_killed_at, replace_folder_and_be_killed_at])
def test_a_run_killed_while_it_replaces_leaves_whole_checkpoints(tmp_path, replace, moment, whole):
    if replace is replace_file_and_be_killed_at:
        torch.save(checkpoint_of(1), tmp_path / "last.ckpt")
    else:
        checkpoint_folder.write(tmp_path / "last.ckpt", checkpoint_of(1))
    process = PROCESSES.Process(target=replace, args=(tmp_path / "last.ckpt", moment))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    for name, step in whole.items():
        (path,) = (each for each in tmp_path.iterdir() if each.name.split("-")[0] == name)
        assert_is(read_any(path), step)
    checkpoint_folder.write(tmp_path / "last.ckpt", checkpoint_of(3))
    assert_is(checkpoint_folder.read(tmp_path / "last.ckpt"), 3)


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
