"""Starts the processes of a sharded test."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Lightning leaves these behind when it starts processes; a run that inherits them takes itself for one of those.
LEFT_BEHIND = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")


def torchrun(worker, num_ranks, folder, *arguments):
    """Run a worker of this directory in several processes, in a folder, and fail with what they said if they do."""
    command = ["torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    run_module(folder, *command, str(ROOT / "tests" / "sharding" / worker), str(folder), *map(str, arguments))


def run_module(folder, *command):
    """What `python -m` prints when it runs in a folder; fail with what it said if it does."""
    environment = {name: value for name, value in os.environ.items() if name not in LEFT_BEHIND}
    environment |= {"OMP_NUM_THREADS": "1", "COLUMNS": "160", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", *command]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
