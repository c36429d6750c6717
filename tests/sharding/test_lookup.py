"""The sharded lookup over four processes against the plain one in this process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recsys.tables import TorchLookup
from tests.sharding.lookup_worker import OPTIMIZERS, train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    out = tmp_path_factory.mktemp("lookup") / "states.pt"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"]
    command += [str(ROOT / "tests" / "sharding" / "lookup_worker.py"), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return torch.load(out, weights_only=True)


@pytest.mark.parametrize("number", range(len(OPTIMIZERS)), ids=lambda n: type(OPTIMIZERS[n]).__name__)
def test_four_processes_hold_what_the_plain_lookup_holds(sharded, number):
    plain = train(OPTIMIZERS[number], TorchLookup, rank=0, num_ranks=1)
    rows = {name for name in plain if not name.endswith("num_steps")}
    assert rows == {name for name in sharded[number] if not name.endswith("num_steps")}
    for name in rows:
        torch.testing.assert_close(sharded[number][name], plain[name], rtol=1e-5, atol=1e-5, msg=f"{name} differs")


def test_rows_have_passed_from_id_to_id(sharded):
    for state in sharded:
        assert int(state["tables.managed.num_intervals"]) == 6
        assert 200 > int(state["tables.managed.slot_ids"][-2]) >= 0
        assert len(state["tables.managed._extra_state"]) == 2 * 12
