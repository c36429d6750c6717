"""Checkpoints of weights alone, such as `recsys compress` writes: training begins anew with them."""

from __future__ import annotations

from typing import Any

_OF_OPTIMIZERS = ("optimizer_states", "lr_schedulers")


def begin_anew(checkpoint: dict[str, Any]) -> bool:
    """Let the trainer of a fit begin at step 0, if a checkpoint has no state of optimizers to go on with.

    Args:
        checkpoint: as the trainer has read it; what it would look for in vain is put there, and how far the run was
            that gave the weights is taken away.

    Returns: whether it is one of weights alone.
    """
    if any(name in checkpoint for name in _OF_OPTIMIZERS):
        return False
    checkpoint.update({name: [] for name in _OF_OPTIMIZERS})
    checkpoint.pop("loops", None)
    return True
