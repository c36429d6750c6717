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
                initial = group.get("initial_lr")
                rate = group["lr"] / initial if initial else 1.0
                skipped = getattr(optimizer, "found_inf", None)
                if skipped is not None and bool(skipped):
                    continue
                scale = getattr(optimizer, "grad_scale", None)
                sign = -1.0 if group.get("maximize") else 1.0
                owner.step(float(rate), sign if scale is None else sign / scale)


register_optimizer_step_post_hook(_after_step)
