"""Whether a run has diverged, noticed at once and said in one sentence."""

from __future__ import annotations

import math

from torch import Tensor

_EVERY = 50


class LossWatch:
    """Refuses losses that are NaN or infinite: on a CPU at once, on a GPU, for which nobody waits, some steps later."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._num_steps = 0

    def __call__(self, loss: Tensor) -> Tensor:
        """The loss, or a refusal.

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
                "a lower learning_rate (of the table_optimizer) and lr (of the optimizer), or warmup_steps."
            )
        return loss
