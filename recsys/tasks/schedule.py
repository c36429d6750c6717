"""Learning rates over a run, as a factor that dense and table optimisers share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up from nothing, then linear decay to a fraction of the full rate.

    Args:
        warmup_steps: optimizer steps until the full rate is reached.
        final_fraction: of the full rate, reached at the last step; 1 keeps the rate.
        total_steps: optimizer steps of the run; needed where final_fraction < 1.
    """

    warmup_steps: int = 0
    final_fraction: float = 1.0
    total_steps: int = 0

    def __call__(self, step: int) -> float:
        """Factor of the learning rate at a step, counted from 0."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        if self.final_fraction == 1:
            return 1.0
        decaying = max(1, self.total_steps - 1 - self.warmup_steps)
        progress = min(1.0, (step - self.warmup_steps) / decaying)
        return 1 - (1 - self.final_fraction) * progress

    @property
    def is_constant(self) -> bool:
        """Whether the factor is 1 at every step."""
        return self.warmup_steps == 0 and self.final_fraction == 1
