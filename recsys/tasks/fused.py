"""One pass over dense parameters, for an Adam whose user has not said otherwise."""

from __future__ import annotations

import torch
from torch import nn


def join_equal_groups(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same optimizer; groups with the settings of the first are part of it, and cost no step of their own.

    Args:
        optimizer: that has not stepped yet.
    """
    first, *others = optimizer.param_groups
    apart = []
    for group in others:
        if all(group[name] == first[name] for name in first if name != "params"):
            first["params"] += group["params"]
        else:
            apart.append(group)
    optimizer.param_groups[:] = [first, *apart]
    return optimizer


def fuse(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same optimizer; torch's Adam and AdamW then read and write each value once, in a kernel for all parameters.

    The steps are the same but for the last bits. A group that says `foreach` or `fused`, or asks for what the kernel
    does not have, stays as it is; so do all other optimizers, subclasses of these too.

    Args:
        optimizer: that has not stepped yet.
    """
    if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW):
        for group in optimizer.param_groups:
            is_open = group["fused"] is None and group["foreach"] is None
            is_plain = not group["differentiable"] and not group["capturable"] and isinstance(group["lr"], float)
            if is_open and is_plain and all(map(_fits, group["params"])):
                group["fused"] = True
    return optimizer


def _fits(parameter: torch.Tensor) -> bool:
    is_plain = type(parameter) is nn.Parameter and parameter.is_floating_point()
    return is_plain and parameter.device.type in ("cpu", "cuda")
