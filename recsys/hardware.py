"""What this machine has: memory that a process may take, and matrix products in bf16."""

from __future__ import annotations

import os
from pathlib import Path

import torch


def memory_per_process(device: torch.device, num_processes: int) -> int:
    """Bytes that rows may take in a process: nine tenths of its GPU, or of its part of the host.

    Args:
        device: of the process.
        num_processes: processes that share the host.
    """
    if device.type == "cuda":
        return int(0.9 * torch.cuda.get_device_properties(device).total_memory)
    return int(0.9 * host_memory()) // num_processes


def host_memory() -> int:
    """Bytes of the host, or what a container or a batch system grants this process."""
    root, own = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
    groups = [root]
    if own.is_file():
        paths = (line.partition("::/")[2] for line in own.read_text().splitlines())
        groups += [folder for path in paths if path for folder in ((root / path), *(root / path).parents)]
    limits = [(folder / "memory.max") for folder in groups if folder == root or root in folder.parents]
    granted = [file.read_text().strip() for file in limits if file.is_file()]
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([installed, *(int(number) for number in granted if number.isdigit())])


def num_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bf16_hardware() -> bool:
    """Whether this CPU multiplies bf16 matrices in hardware; without it bf16 is several times slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
