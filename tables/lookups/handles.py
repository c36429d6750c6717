"""Whose rows an optimizer steps: it holds a number for each owner of rows, its handle."""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook


class RowOwner(Protocol):
    """Has rows that step when the optimizer does that holds its handle."""

    handle: nn.Parameter

    def end_pass(self) -> None:
        """After a backward pass that reached the handle."""

    def step(self, learning_rate_factor: float, gradient_factor: Tensor | float) -> None:
        """After the optimizer's step."""


_LARGEST = "largest_lr"
"""Where a group notes its largest rate, if nobody has noted what it began with."""

_owners: dict[int, weakref.ref[RowOwner]] = {}


def introduce(owner: RowOwner) -> None:
    """From now on the owner hears of backward passes that reach its handle, and of the steps of optimizers with it."""
    _owners[id(owner.handle)] = weakref.ref(owner)
    owner.handle.register_post_accumulate_grad_hook(_after_backward)


def owner_of(parameter: Tensor) -> RowOwner | None:
    """Whose handle a parameter is, if anyone's."""
    found = _owners.get(id(parameter))
    owner = found() if found is not None else None
    # A number may be that of another parameter by now.
    return owner if owner is not None and owner.handle is parameter else None


def _after_backward(handle: Tensor) -> None:
    owner = owner_of(handle)
    if owner is not None:
        owner.end_pass()


def _after_step(optimizer: Optimizer, *_: Any) -> None:
    """Step the rows of every handle that the optimizer holds."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            owner = owner_of(parameter) if parameter.dim() == 0 else None
            if owner is not None:
                skipped = getattr(optimizer, "found_inf", None)
                if skipped is not None and bool(skipped):
                    continue
                scale = getattr(optimizer, "grad_scale", None)
                sign = -1.0 if group.get("maximize") else 1.0
                owner.step(_rate_factor(group), sign if scale is None else sign / scale)


def _rate_factor(group: dict[str, Any]) -> float:
    """The rate of a group in units of what it began with, as torch's schedulers note it, or of its largest so far.

    ReduceLROnPlateau, and who sets rates by hand, note nothing; what is noted here stays with the optimizer's state.
    """
    first = group.get("initial_lr")
    if first is None and "lr" in group:
        first = group[_LARGEST] = max(group.get(_LARGEST, 0.0), float(group["lr"]))
    return float(group["lr"] / first) if first else 1.0


register_optimizer_step_post_hook(_after_step)
