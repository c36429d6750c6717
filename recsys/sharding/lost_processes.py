"""Which process of several has died, said by one that has not: the others would wait, or name a closed socket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import torch.distributed as dist
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from recsys.tables.sharded.first_process import has_group

_PERIOD_SECONDS = 0.5
_GRACE_SECONDS = 5.0
"""How long the first process leaves it to the watch to say who has died."""
_CLOSED = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Socket closed", "socket closed")


class WatchingLauncher(_SubprocessScriptLauncher):
    """Starts the other processes, and ends all of them when the system has ended one."""

    def _call_children_scripts(self) -> None:
        super()._call_children_scripts()
        threading.Thread(target=_watch, args=(self.procs,), daemon=True, name="watch of processes").start()


def is_of_a_lost_process(error: BaseException) -> bool:
    """Whether an error of a collective says that another process has gone."""
    return has_group() and any(words in str(error) for words in _CLOSED)


def lost_process(error: BaseException) -> str:
    """What to say of it in this process; the first one waits for its watch, which knows more, to end the run."""
    rank = dist.get_rank()
    if rank == 0:
        time.sleep(_GRACE_SECONDS)
    return f"another process of this run has gone, and process {rank} ends with it ({str(error).splitlines()[0][:200]})"


def ended_by_signal(processes: Sequence[subprocess.Popen[bytes]]) -> tuple[int, int] | None:
    """Rank and signal of the first of the processes 1, 2, ... that a signal has ended; None while there is none."""
    codes = [process.poll() for process in processes]
    return next(((rank, -code) for rank, code in enumerate(codes, start=1) if code is not None and code < 0), None)


def _watch(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Look after the others until all have ended by themselves; what they say of failures stays theirs to say."""
    while any(process.poll() is None for process in processes) or ended_by_signal(processes):
        found = ended_by_signal(processes)
        if found is not None:
            _end_all(processes, *found)
        time.sleep(_PERIOD_SECONDS)


def _end_all(processes: Sequence[subprocess.Popen[bytes]], rank: int, number: int) -> None:
    print(
        f"error: process {rank} of {len(processes) + 1} (pid {processes[rank - 1].pid}) was ended by "
        f"{signal.Signals(number).name}, and the others end with it; --ckpt_path of the last checkpoint goes on.",
        file=sys.stderr,
        flush=True,
    )
    for process in processes:
        if process.poll() is None:
            process.kill()
    # A process that waits in a collective can do nothing else.
    os._exit(128 + number)
