"""Memory of a device; 0 where that is a CPU."""

from __future__ import annotations

import torch


def allocated(device: torch.device) -> float:
    """Bytes that tensors take; the peak counts from here."""
    if device.type != "cuda":
        return 0.0
    torch.cuda.reset_peak_memory_stats(device)
    return float(torch.cuda.memory_allocated(device))


def peak(device: torch.device) -> float:
    """Most bytes that tensors have taken since `allocated`."""
    return float(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else 0.0
