"""How dense parameters are trained: their optimizer, and the schedule that rows follow too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn

from recsys.tasks.fused import fuse, join_equal_groups
from recsys.tasks.schedule import Schedule

OptimizerFactory = Callable[[Iterable[Any]], torch.optim.Optimizer]
"""Called with parameter groups."""


@dataclass(frozen=True)
class DenseOptimizer:
    """An optimizer of dense parameters, and the rates of a run.

    Args:
        factory: of the optimizer.
        warmup_steps: steps of linear warm-up.
        final_learning_rate_fraction: rates fall linearly to this fraction over the run; 1 keeps them.
    """

    factory: OptimizerFactory
    warmup_steps: int = 0
    final_learning_rate_fraction: float = 1.0

    def check(self, task: str) -> None:
        """Refuse what is out of range.

        Raises:
            ValueError: naming the task, the argument and the value.
        """
        if not callable(self.factory):
            raise ValueError(f"{task}: optimizer must be a class such as torch.optim.Adam, got {self.factory}.")
        if self.warmup_steps < 0:
            raise ValueError(f"{task}: warmup_steps must be at least 0, got {self.warmup_steps}.")
        fraction = self.final_learning_rate_fraction
        if not 0 <= fraction <= 1:
            raise ValueError(f"{task}: final_learning_rate_fraction must be in [0, 1], got {fraction}.")

    def check_run(self, task: str, trainer: Trainer) -> None:
        """Refuse a decay in a run without an end.

        Raises:
            ValueError: naming the task and the value.
        """
        fraction = self.final_learning_rate_fraction
        if fraction < 1 and trainer.max_epochs == trainer.max_steps == -1:
            raise ValueError(
                f"{task}: final_learning_rate_fraction={fraction} is reached at the last step of a run, and this one "
                "has none; give trainer.max_epochs or trainer.max_steps, or set it to 1."
            )

    def schedule(self, task: str, trainer: Trainer) -> Schedule:
        """The rates of a run as long as this one; a warm-up that is longer than the run is warned of.

        Raises:
            ValueError: if a scheduler sets them, too: the last to do so would win.
        """
        decays = self.final_learning_rate_fraction < 1
        if trainer.lr_scheduler_configs and (decays or self.warmup_steps):
            raise ValueError(
                f"{task}: warmup_steps={self.warmup_steps} and final_learning_rate_fraction="
                f"{self.final_learning_rate_fraction} set the rates, and a scheduler of configure_optimizers() does "
                "too; leave out one of them."
            )
        total_steps = trainer.estimated_stepping_batches if decays or self.warmup_steps else 0
        if 0 < total_steps <= self.warmup_steps and not getattr(trainer, "fast_dev_run", False):
            rank_zero_warn(
                f"{task}: warmup_steps={self.warmup_steps} and the run has {int(total_steps)} steps, so that the full "
                "rate comes with the last one or never; warm up over fewer."
            )
        return Schedule(self.warmup_steps, self.final_learning_rate_fraction, int(total_steps) if decays else 0)

    def make(self, groups: Sequence[Mapping[str, Any]], task: str) -> torch.optim.Optimizer:
        """The optimizer of parameter groups, as few of them as their settings need.

        Raises:
            ValueError: naming the task, with what the optimizer refuses, or if it is none, takes no dense gradients, or
                leaves parameters out.
        """
        try:
            optimizer = self.factory(groups)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{task}: optimizer cannot be made, see model.optimizer: {error}.") from error
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise ValueError(
                f"{task}: optimizer must make a torch.optim.Optimizer of the parameters that it is given, got "
                f"{type(optimizer).__name__}; for a scheduler give warmup_steps, or configure_optimizers() of your own."
            )
        if isinstance(optimizer, torch.optim.SparseAdam):
            raise ValueError(
                f"{task}: optimizer must take dense gradients, got SparseAdam; choose torch.optim.Adam, and "
                "table_optimizer: Adam for rows."
            )
        if any(group.get("maximize") for group in optimizer.param_groups):
            raise ValueError(f"{task}: optimizer has maximize=True, which climbs the loss; leave it out.")
        num_left_out = len(_parameters(groups) - _parameters(optimizer.param_groups))
        if num_left_out:
            raise ValueError(
                f"{task}: optimizer leaves out {num_left_out} of the {len(_parameters(groups))} parameters that it is "
                "given, which would stay as they are; make it of all of them, and keep some by requires_grad_(False)."
            )
        optimizer = fuse(join_equal_groups(optimizer))
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        return optimizer


def _parameters(groups: Iterable[Mapping[str, Any]]) -> set[torch.Tensor]:
    """All parameters of some groups."""
    return {parameter for group in groups for parameter in group["params"]}
