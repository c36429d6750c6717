"""Whether a run has diverged, noticed at once and said in one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

_EVERY = 50
_LARGE = 1e4
"""Numbers beyond are hardly standardised, or far outside what a model was trained on."""


def large_columns(dense: Tensor, names: Sequence[str]) -> str:
    """Half a sentence on columns of a batch [B, num_dense] whose numbers may be why; empty if there are none."""
    if not dense.numel():
        return ""
    largest = dense.abs().nan_to_num(math.inf).amax(dim=0).tolist()
    found = [f"'{name}' (up to {value:g})" for name, value in zip(names, largest, strict=True) if not value < _LARGE]
    return f"; numbers of this batch are very large: {', '.join(found[:5])}" if found else ""


def check_logits(logits: Tensor, dense: Tensor, names: Sequence[str]) -> None:
    """Refuse scores that are no finite numbers, naming the inputs that may be why.

    Raises:
        ValueError: if a logit is NaN or infinite.
    """
    num_bad = int((~logits.isfinite()).sum())
    if num_bad:
        said = large_columns(dense, names) or "; training has diverged, or a feature is NaN"
        raise ValueError(f"{num_bad} of {logits.numel()} scores are NaN or infinite{said}.")


class LossWatch:
    """Refuses losses that are NaN or infinite: on a CPU at once, on a GPU, for which nobody waits, some steps later."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._num_steps = 0

    def __call__(self, loss: Tensor, why: Callable[[], str] = lambda: "") -> Tensor:
        """The loss, or a refusal.

        Args:
            loss: of a step.
            why: half a sentence on what the step's batch has to do with it, asked for only then.

        Raises:
            ValueError: if this loss, or on a GPU one of the last 50, is not finite.
        """
        value = loss.detach()
        if value.device.type != "cpu":
            self._sum = value if self._sum is None else self._sum + value
            self._num_steps += 1
            if self._num_steps < _EVERY:
                return loss
            value, self._sum, self._num_steps = self._sum, None, 0
        if not math.isfinite(float(value)):
            raise ValueError(
                f"the training loss is {float(value)}: training has diverged, or an input is not a finite number; try "
                f"a lower learning_rate (of the table_optimizer) and lr (of the optimizer), or warmup_steps{why()}."
            )
        return loss
