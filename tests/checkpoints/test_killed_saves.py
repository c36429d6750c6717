"""What a run leaves that is killed while it saves."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from recsys.checkpoints import folder as checkpoint_folder
from recsys.checkpoints import place as checkpoint_place
from recsys.checkpoints.io import FolderCheckpointIO
from tests.checkpoints.test_folder import assert_is, checkpoint_of

PROCESSES = multiprocessing.get_context("forkserver")
"""A fork of this process would lack torch's threads and wait for them; the server has none, and torch already."""
PROCESSES.set_forkserver_preload(["torch", "recsys.checkpoints.io"])


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
