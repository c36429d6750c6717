"""Whether a computation runs at once, or a program is made of it."""

from __future__ import annotations

import torch
from torch import Tensor


def can_be_looked_at(tensor: Tensor) -> bool:
    """Whether what is done may depend on values: they are on a CPU, and no program or transform is made of them."""
    if tensor.device.type != "cpu" or torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    return not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
