"""The machine, the versions and the load that a measurement was made with, in one line printed above its table."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("torch", "torchrec", "fbgemm-gpu-cpu", "fbgemm-gpu", "numba", "lightning")
UNITS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
"""Words of /proc/cpuinfo for what decides how fast products and rows are."""


def line(precision: str = "32-true") -> str:
    """Processor or GPU, cores, threads, precision, versions, and the load of the last minute."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    versions = [f"{name} {found}" for name in PACKAGES if (found := _version(name))]
    cores = len(os.sched_getaffinity(0))
    parts = (device, f"{cores} cores", f"{torch.get_num_threads()} threads", precision, *versions)
    return ", ".join((*parts, f"Python {platform.python_version()}", f"load {os.getloadavg()[0]:.1f}"))


def _processor() -> str:
    """Name of the processor and which of UNITS it has."""
    path = Path("/proc/cpuinfo")
    words = dict(entry.split("\t: ", 1) for entry in path.read_text().splitlines() if "\t: " in entry)
    name = words.get("model name", platform.machine()).strip()
    return " ".join([name, *(unit for unit in UNITS if unit in words.get("flags", "").split())])


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
