"""Session models on two gloo processes train and rank like one process on the same sessions."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.test_session_data import NUM_ITEMS, write_folder
from tests.sharding.session_worker import BATCH, CASES, NUM_STEPS, train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Users of two to nine events, two in each visit; one process has none in the last batches of both splits."""
    generator = np.random.default_rng(0)

    def rows(number):
        lengths = generator.integers(2, 10, number)
        return [
            (user, generator.integers(1, NUM_ITEMS + 1, n).tolist(), user % 12 + 1) for user, n in enumerate(lengths)
        ]

    num_sessions = (NUM_STEPS // 2 - 1) * BATCH + 1
    splits = {"train": rows(num_sessions), "val": rows(41), "test": rows(1)}
    return write_folder(
        tmp_path_factory.mktemp("sessions") / "made", splits, time_of=lambda k: 100 * k + 500 * (k // 2)
    )


@pytest.fixture(scope="module")
def two(folder, tmp_path_factory):
    """What two processes reached, by case."""
    out = tmp_path_factory.mktemp("two")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(ROOT / "tests" / "sharding" / "session_worker.py"), str(folder), str(out), "2"]
    done = subprocess.run(command, cwd=out, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return torch.load(out / "found.pt", weights_only=True)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_reach_what_one_reaches(two, folder, tmp_path, case):
    one = train(folder, case, 1, tmp_path)
    assert len(one["losses"]) == NUM_STEPS
    assert two[case]["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert one["losses"][-1] != pytest.approx(one["losses"][0], abs=1e-3), "something was learnt"
    states = [{k: v for k, v in run["state"].items() if not k.endswith("num_steps")} for run in (one, two[case])]
    assert states[0].keys() == states[1].keys()
    for name, values in states[0].items():
        torch.testing.assert_close(states[1][name], values, rtol=0, atol=1e-5, msg=f"{name} differs")
    assert two[case]["metrics"] == pytest.approx(one["metrics"], abs=1e-6, nan_ok=True)
