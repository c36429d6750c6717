"""What the programs around an Embedding allow: torch.func's transforms, compiled and exported programs."""

from __future__ import annotations

import torch


def allow_sparse_gradients() -> bool:
    """Whether gradients may be sparse: torch.func batches dense ones alone."""
    return torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is None


def allow_any_shape() -> bool:
    """Whether shapes may depend on values: only where operations run as they are met."""
    return not torch.compiler.is_compiling() and torch._C._functorch.maybe_current_level() is None


def is_computed_again() -> bool:
    """Whether a backward pass runs, in which a checkpointed model computes once more what it has computed before."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
