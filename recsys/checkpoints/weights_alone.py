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

    Raises:
        ValueError: if it has a part of that state and lacks the other.
    """
    missing = [name for name in _OF_OPTIMIZERS if name not in checkpoint]
    if missing and len(missing) < len(_OF_OPTIMIZERS):
        raise ValueError(f"the checkpoint is damaged: it lacks {missing[0]}; go on from another one.")
    if not missing:
        return False
    checkpoint.update({name: [] for name in _OF_OPTIMIZERS})
    checkpoint.pop("loops", None)
    return True
