"""Checkpoint files: whole or not there, wherever the temporary folder is; damage names the tensor; nothing is run."""

import fcntl
import multiprocessing
import os
import random
import shutil
import time
import zipfile
from contextlib import suppress

import pytest
import torch

from recsys.checkpoints import file as checkpoint_file
from recsys.checkpoints import folder as checkpoint_folder
from recsys.checkpoints.io import FolderCheckpointIO
from tests.checkpoints.test_folder import assert_is, checkpoint_of

PROCESSES = multiprocessing.get_context("forkserver")


def test_what_is_written_is_read_and_nothing_is_left_beside_it(tmp_path):
    for step in (1, 2):
        checkpoint_file.write(tmp_path / "deep" / "last.ckpt", checkpoint_of(step))
        for mmap in (False, True):
            assert_is(checkpoint_file.read(tmp_path / "deep" / "last.ckpt", mmap), step)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["last.ckpt"]


def save_until_killed(path):
    for step in range(1, 10_000):
        checkpoint_file.write(path, checkpoint_of(step))


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.009, 0.013, 0.03])
def test_a_run_killed_while_it_saves_leaves_a_whole_file(tmp_path, delay, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/dev/shm")
    process = PROCESSES.Process(target=save_until_killed, args=(tmp_path / "last.ckpt",))
    process.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join()
    found = checkpoint_file.read(tmp_path / "last.ckpt")
    assert_is(found, found["epoch"])
    checkpoint_file.write(tmp_path / "last.ckpt", checkpoint_of(3))
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"], "what the killed run left is cleared"


def test_a_save_beside_a_running_one_leaves_its_work_alone(tmp_path):
    target = tmp_path / "last.ckpt"
    partial = tmp_path / "last.ckpt.partial-01234567"
    with partial.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        checkpoint_file.write(target, checkpoint_of(1))
        assert partial.exists()
    checkpoint_file.write(target, checkpoint_of(2))
    assert not partial.exists()


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch, moment):
    checkpoint_file.write(tmp_path / "last.ckpt", checkpoint_of(1))

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if moment == "fsync" else (checkpoint_file.Path, "replace")), full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint_file.write(tmp_path / "last.ckpt", checkpoint_of(2))
    monkeypatch.undo()
    assert_is(checkpoint_file.read(tmp_path / "last.ckpt"), 1)
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def flip(path, start, stop):
    content = bytearray(path.read_bytes())
    content[random.Random(0).randrange(start, stop)] ^= 1
    path.write_bytes(content)


def record_of(path, name):
    """Where the bytes of an archive's record begin, and their number."""
    with zipfile.ZipFile(path) as archive:
        (info,) = (each for each in archive.infolist() if each.filename.endswith(name))
    header = path.read_bytes()[info.header_offset : info.header_offset + 30]
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return info.header_offset + 30 + names, info.file_size


@pytest.mark.parametrize(
    ("record", "message"), [("data/0", "tensor 'state_dict/model.weight'"), ("data.pkl", "record")]
)
def test_a_flipped_byte_is_found_and_its_tensor_named(tmp_path, record, message):
    path = tmp_path / "last.ckpt"
    checkpoint_file.write(path, checkpoint_of(1))
    start, num_bytes = record_of(path, record)
    flip(path, start, start + num_bytes)
    for read in (checkpoint_file.read, FolderCheckpointIO().load_checkpoint):
        with pytest.raises(ValueError, match=message) as refused:
            read(path)
        assert str(path) in str(refused.value)


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "last.ckpt"
    checkpoint_file.write(path, checkpoint_of(1))
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"truncated or not a checkpoint|cannot be read") as refused:
            checkpoint_file.read(path)
        assert str(path) in str(refused.value)


def test_damage_anywhere_is_one_sentence_or_no_change(tmp_path):
    path = tmp_path / "last.ckpt"
    checkpoint_file.write(path, checkpoint_of(1))
    whole, chance = path.read_bytes(), random.Random(1)
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(3):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        with suppress(ValueError):
            assert_is(checkpoint_file.read(path), 1)


def test_a_flipped_byte_of_a_folder_and_a_part_of_another_run_name_the_tensor(tmp_path):
    for name, step in (("last.ckpt", 1), ("other.ckpt", 2)):
        checkpoint_folder.write(tmp_path / name, checkpoint_of(step))
    (file,), (other,) = (tuple((tmp_path / name).rglob("*.safetensors")) for name in ("last.ckpt", "other.ckpt"))
    whole = file.read_bytes()
    flip(file, len(whole) // 2, len(whole))
    message = r"has a part of another run: tensor '[\w/.]+' in 'shard"
    with pytest.raises(ValueError, match=message):
        checkpoint_folder.read(tmp_path / "last.ckpt")
    shutil.copy(other, file)
    with pytest.raises(ValueError, match=rf"{message}|the header of '{file}' has changed"):
        checkpoint_folder.read(tmp_path / "last.ckpt")
    file.write_bytes(whole)
    assert_is(checkpoint_folder.read(tmp_path / "last.ckpt"), 1)


def test_a_file_of_another_program_is_named(tmp_path):
    torch.save([1, 2], tmp_path / "list.ckpt")
    torch.save({"weight": torch.ones(2)}, tmp_path / "weights.ckpt")
    with pytest.raises(ValueError, match="holds a list, not what `lightning fit` writes"):
        FolderCheckpointIO().load_checkpoint(tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match="has no state_dict"):
        FolderCheckpointIO().load_checkpoint(tmp_path / "weights.ckpt")


def test_code_is_refused_whatever_is_asked(tmp_path):
    torch.save({"state_dict": {}, "x": os.getcwd}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="could run code"):
        FolderCheckpointIO().load_checkpoint(tmp_path / "last.ckpt", weights_only=False)
    with pytest.raises(ValueError, match=r"entries \['x'\] hold more than tensors"):
        checkpoint_file.write(tmp_path / "new.ckpt", {"state_dict": {}, "x": os.getcwd})
    assert not (tmp_path / "new.ckpt").exists()


def test_a_flipped_byte_of_a_file_that_a_plain_trainer_wrote_is_found(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"weight": torch.ones(1000)}}, path)
    assert torch.equal(checkpoint_file.read(path, mmap=True)["state_dict"]["weight"], torch.ones(1000))
    start, num_bytes = record_of(path, "data/0")
    flip(path, start, start + num_bytes)
    with pytest.raises(ValueError, match=r"'.*last.ckpt' .*record '.*/data/0' is damaged"):
        checkpoint_file.read(path, mmap=True)
