"""A process that the system ends takes the others with it, in reasonable time, and is named."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recsys.sharding.lost_processes import ended_by_signal
from tests.checkpoints.words import command, write_words
from tests.sharding.processes import LEFT_BEHIND, ROOT


def children(pid):
    """Processes that one has started, by the system's own files."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for file in tasks for word in file.read_text().split()]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_words(tmp_path_factory.mktemp("words") / "data")


def wait_for(found, seconds=400):
    deadline = time.monotonic() + seconds
    while not found() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert found()


@pytest.mark.skipif(not Path(f"/proc/{os.getpid()}/task").exists(), reason="needs /proc to find the second process")
@pytest.mark.parametrize("rank", [0, 1])
def test_who_died_is_named(data, tmp_path, rank):
    environment = {name: value for name, value in os.environ.items() if name not in LEFT_BEHIND}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    two = ("--trainer.strategy=torchrec", "--trainer.devices=2", "--trainer.max_epochs=100000")
    words = [sys.executable, "-m", "recsys", "fit", *command(data, tmp_path, *two)]
    with (tmp_path / "log.txt").open("w") as log:
        first = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
    wait_for(lambda: first.poll() is not None or list(tmp_path.rglob("current")))
    (second,) = (pid for pid in children(first.pid) if b"recsys" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill((first.pid, second)[rank], signal.SIGKILL)
    code = first.wait(30)
    wait_for(lambda: not _is_alive(second), 30)
    said = (tmp_path / "log.txt").read_text()
    if rank == 1:
        assert code == 128 + signal.SIGKILL
        assert f"process 1 of 2 (pid {second}) was ended by SIGKILL, and the others end with it" in said
    else:
        assert code == -signal.SIGKILL
        assert "another process of this run has gone, and process 1 ends with it" in said
    assert "Traceback" not in said


def _is_alive(pid):
    """Whether it runs; one that nobody has waited for does not."""
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_only_a_signal_is_the_systems_doing():
    ended = [subprocess.Popen([sys.executable, "-c", "raise SystemExit(2)"])]
    ended[0].wait()
    assert ended_by_signal(ended) is None
    killed = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    assert ended_by_signal([*ended, killed]) is None
    killed.kill()
    killed.wait()
    assert ended_by_signal([*ended, killed]) == (2, signal.SIGKILL)
