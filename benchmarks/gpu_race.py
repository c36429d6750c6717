"""Contenders raced on a device in turns: rates, memory, and time beside the floor's."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import torch
from gpu_contenders import Step, bare, ours, torchrec_dlrm
from gpu_floor import Rates, row_bytes, synchronize
from gpu_memory import allocated, peak
from gpu_settings import GRAPHS, Setting, batches_of


def race(
    setting: Setting, device: torch.device, rates: Rates, report: Any, deadline: Any, quick: bool
) -> list[dict[str, Any]]:
    """A row for every contender: its rate, memory, and its time beside the floor's and beside the bare loop's."""
    batches = batches_of(setting, device)
    made: dict[str, Callable[[], Step]] = {
        "bare FBGEMM": lambda: bare(setting, batches, device),
        "recsys": lambda: ours(setting, batches, device),
    }
    if device.type == "cuda":
        made |= {
            f"recsys, {name}": lambda options=options: ours(setting, batches, device, **options)
            for name, options in GRAPHS.items()
        }
    if setting.model == "DLRM":
        made["torchrec DLRM"] = lambda: torchrec_dlrm(setting, batches, device)
    steps: dict[str, Step] = {}
    memory: dict[str, float] = {}
    for name, make in made.items():
        before = allocated(device)
        found = report.attempt(f"{setting}, {name}", deadline, lambda make=make: _warm(make(), device))
        if found is not None:
            steps[name], memory[name] = found, (peak(device) - before) / 1e9
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    num_steps, rounds = (2, 2) if quick else (min(64, max(10, (1 << 21) // setting.batch_size)), 5)
    for _ in range(rounds):
        for name, step in steps.items():
            seconds[name].append(_timed(step, num_steps, device))
    floor = rates.seconds(row_bytes([batch.ids for batch in batches[:1]], setting.embedding_dim), setting.flops)
    medians = {name: median(each) for name, each in seconds.items()}
    return [
        {
            "setting": str(setting),
            "contender": name,
            "M samples/s": setting.batch_size / each / 1e6,
            "ms": 1e3 * each,
            "x bare": medians.get("bare FBGEMM", float("nan")) / each,
            "of floor": floor / each,
            "peak GB": memory[name],
        }
        for name, each in medians.items()
    ]


def _warm(step: Step, device: torch.device) -> Step:
    for number in range(5):
        step(number)
    synchronize(device)
    return step


def _timed(step: Step, num_steps: int, device: torch.device) -> float:
    """Seconds a step."""
    synchronize(device)
    start = perf_counter()
    for number in range(num_steps):
        step(number)
    synchronize(device)
    return (perf_counter() - start) / num_steps
