"""Labels and weights stay as they are where a trainer rounds its batches to the precision of the model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import HalfPrecision

from recsys.data.batch import Batch


def keep_targets(trainer: Trainer) -> None:
    """Let a trainer of bf16-true or 16-true round what the model reads, and not what its losses and metrics count.

    A weight of 257 would be 256 in bfloat16, and 70,000 infinite in float16.
    """
    plugin = trainer.precision_plugin
    if not isinstance(plugin, HalfPrecision) or "convert_input" in vars(plugin):
        return
    rounded = plugin.convert_input

    def convert_input(data: Any) -> Any:
        found = rounded(data)
        return replace(found, labels=data.labels, weights=data.weights) if isinstance(found, Batch) else found

    plugin.convert_input = convert_input  # type: ignore[method-assign]
