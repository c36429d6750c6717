"""Optimisers of table rows, applied to the rows that a step has touched and to no others.

Each is a frozen description that can be written in YAML, with the update in plain torch. `step` receives every touched
row once, with the sum of its gradients, so the result equals a dense optimizer's on those rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recsys.tables.numbers import MOST


@dataclass(frozen=True)
class TableOptimizer(ABC):
    """Settings shared by the row optimisers.

    Args:
        learning_rate: step size, at least 0.
        weight_decay: L2 penalty added to the gradient of touched rows only, at least 0.

    Raises:
        ValueError: if a setting is negative or no finite number.
    """

    learning_rate: float = 0.01
    weight_decay: float = 0.0

    kernel: ClassVar[str | None] = None
    """Name of FBGEMM's kernels for it; None if there are none."""

    def __post_init__(self) -> None:
        """Refuse settings that are no finite numbers, or out of range."""
        for name, value in vars(self).items():
            self._check(name, value)

    def _check(self, name: str, value: object) -> None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= MOST:  # type: ignore[operator]
            raise ValueError(f"{type(self).__name__}: {name} must be a number of at least 0, got {value!r}.")
        if name == "eps" and not value:
            raise ValueError(f"{type(self).__name__}: eps must be above 0, got {value!r}.")

    @property
    def has_kernel(self) -> bool:
        """Whether FBGEMM's kernels make exactly this update."""
        return self.kernel is not None and not self.weight_decay

    @abstractmethod
    def state_dims(self, row_dim: int) -> dict[str, int]:
        """Width of each state matrix, by name; the state has one row per table row."""

    @abstractmethod
    def update(self, grad: Tensor, state: Mapping[str, Tensor], num_steps: int) -> Tensor:
        """Direction to move the touched rows in, before the learning rate; changes `state` in place.

        Shape:
            grad [M, row_dim], state [M, state_dim] each -> [M, row_dim]
        """

    @torch.no_grad()
    def step(
        self,
        weight: Tensor,
        state: Mapping[str, Tensor],
        rows: Tensor,
        grad: Tensor,
        num_steps: int,
        learning_rate: float,
    ) -> None:
        """Update `weight` and `state` in place.

        Args:
            weight: [R, row_dim].
            state: [R, state_dim] each.
            rows: distinct rows [M].
            grad: summed gradient of each [M, row_dim], in float32 for narrower rows; may be overwritten.
            num_steps: updates made so far, this one included.
            learning_rate: step size in force now.
        """
        narrow = weight.dtype in (torch.float16, torch.bfloat16)
        if self.weight_decay:
            grad = grad + self.weight_decay * weight.index_select(0, rows)
        touched = {name: matrix.index_select(0, rows) for name, matrix in state.items()}
        direction = self.update(grad, touched, num_steps)
        for name, matrix in state.items():
            matrix.index_copy_(0, rows, touched[name])
        if narrow:
            moved = weight.index_select(0, rows).float().sub_(direction, alpha=learning_rate)
            weight.index_copy_(0, rows, moved.to(weight.dtype))
        else:
            weight.index_add_(0, rows, direction, alpha=-learning_rate)


@dataclass(frozen=True)
class SGD(TableOptimizer):
    """Plain stochastic gradient descent."""

    kernel: ClassVar[str | None] = "EXACT_SGD"

    def state_dims(self, row_dim: int) -> dict[str, int]:
        """No state."""
        return {}

    def update(self, grad: Tensor, state: Mapping[str, Tensor], num_steps: int) -> Tensor:
        """The gradient."""
        return grad


@dataclass(frozen=True)
class Adagrad(TableOptimizer):
    """Adagrad (Duchi et al., JMLR 2011) with one accumulator per value.

    Args:
        learning_rate: step size.
        weight_decay: L2 penalty on touched rows.
        eps: added to the root.
    """

    eps: float = 1e-8

    kernel: ClassVar[str | None] = "EXACT_ADAGRAD"

    def state_dims(self, row_dim: int) -> dict[str, int]:
        """A squared-gradient sum per value."""
        return {"momentum": row_dim}

    def update(self, grad: Tensor, state: Mapping[str, Tensor], num_steps: int) -> Tensor:
        """Gradient over the root of the sum of squares."""
        momentum = state["momentum"].addcmul_(grad, grad)
        return grad / momentum.sqrt().add_(self.eps)


@dataclass(frozen=True)
class RowWiseAdagrad(TableOptimizer):
    """Adagrad with one accumulator per row: the mean of the row's squared gradients. A row's state is one number.

    Args:
        learning_rate: step size.
        weight_decay: L2 penalty on touched rows.
        eps: added to the root.
    """

    eps: float = 1e-8

    kernel: ClassVar[str | None] = "EXACT_ROWWISE_ADAGRAD"

    def state_dims(self, row_dim: int) -> dict[str, int]:
        """A mean squared gradient per row."""
        return {"momentum": 1}

    def update(self, grad: Tensor, state: Mapping[str, Tensor], num_steps: int) -> Tensor:
        """Gradient over the root of the row's sum."""
        momentum = state["momentum"].add_(grad.square().mean(1, keepdim=True))
        return grad / momentum.sqrt().add_(self.eps)


@dataclass(frozen=True)
class Adam(TableOptimizer):
    """Adam (Kingma and Ba, arXiv:1412.6980) whose moments move only where a row was touched, as torch's SparseAdam.

    Args:
        learning_rate: step size.
        weight_decay: L2 penalty on touched rows.
        beta1: decay of the gradient's mean, in [0, 1).
        beta2: decay of its square's, in [0, 1).
        eps: added to the root.

    Raises:
        ValueError: if a beta is outside [0, 1).
    """

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        super().__post_init__()
        for name in ("beta1", "beta2"):
            if getattr(self, name) >= 1:
                raise ValueError(f"Adam: {name} must be in [0, 1), got {getattr(self, name)!r}.")

    def state_dims(self, row_dim: int) -> dict[str, int]:
        """Two moments per value."""
        return {"mean": row_dim, "variance": row_dim}

    def update(self, grad: Tensor, state: Mapping[str, Tensor], num_steps: int) -> Tensor:
        """Bias-corrected mean over the root of the bias-corrected square."""
        mean = state["mean"].lerp_(grad, 1 - self.beta1)
        variance = state["variance"].mul_(self.beta2).addcmul_(grad, grad, value=1 - self.beta2)
        correction = (1 - self.beta2**num_steps) ** 0.5 / (1 - self.beta1**num_steps)
        return mean.mul(correction).div_(variance.sqrt().add_(self.eps))


@dataclass(frozen=True)
class DenseGradient(TableOptimizer):
    """Rows are ordinary parameters with dense gradients, stepped over the whole matrix by the task's dense optimizer.

    The choice for methods that need a full-table step, and for tables small enough to afford it.

    Args:
        learning_rate: of the rows; 0 takes the dense optimizer's own.
        weight_decay: of the rows, in the dense optimizer's sense; None takes its own.
    """

    learning_rate: float = 0.0
    weight_decay: float | None = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """A decay of None is no number to check."""
        self._check("learning_rate", self.learning_rate)
        if self.weight_decay is not None:
            self._check("weight_decay", self.weight_decay)

    def state_dims(self, row_dim: int) -> dict[str, int]:
        """The task's optimizer keeps its own state."""
        return {}

    def update(self, grad: Tensor, state: Mapping[str, Tensor], num_steps: int) -> Tensor:
        """Never called: the task's optimizer steps."""
        raise AssertionError("DenseGradient has no row update")


@dataclass(frozen=True)
class Frozen(TableOptimizer):
    """Rows that never change: no gradient, no state.

    Raises:
        ValueError: if a setting is not 0, as it would do nothing.
    """

    learning_rate: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings."""
        super().__post_init__()
        if self.learning_rate or self.weight_decay:
            raise ValueError(f"Frozen: rows never change; leave out learning_rate and weight_decay, got {self}.")

    def state_dims(self, row_dim: int) -> dict[str, int]:
        """No state."""
        return {}

    def update(self, grad: Tensor, state: Mapping[str, Tensor], num_steps: int) -> Tensor:
        """Never called: no gradient reaches the rows."""
        raise AssertionError("Frozen rows have no update")
