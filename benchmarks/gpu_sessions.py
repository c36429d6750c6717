"""Session models on a device: targets per second of whole steps."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import torch
from gpu_contenders import fused_adam, in_bf16
from gpu_floor import synchronize
from session_speed import SIZES, Size, generated

from recsys.losses import FullCrossEntropy, SampledSoftmax, UniformSampler
from recsys.models import HSTU, SASRec
from recsys.tables import DenseGradient, RowWiseAdagrad
from recsys.tasks import NextItemTask

Make = Callable[[], tuple[NextItemTask, Size, int]]


def contenders(quick: bool) -> dict[str, Make]:
    """Tasks with the size of their sessions and of their batches, by name."""
    batch_size = 16 if quick else 2048

    def make(model: Any, size: str, sampled: bool) -> Callable[[], tuple[NextItemTask, Size, int]]:
        def made() -> tuple[NextItemTask, Size, int]:
            shape: Any = SIZES[size]
            task = NextItemTask(
                lambda *sizes: model(*sizes, num_blocks=2),
                shape,
                embedding_dim=64,
                max_length=shape.max_length,
                loss=SampledSoftmax(UniformSampler(2048)) if sampled else FullCrossEntropy(),
                table_optimizer=RowWiseAdagrad(0.05) if sampled else DenseGradient(),
                optimizer=fused_adam,
            )
            return task, shape, batch_size if size == "beauty" else batch_size // 8

        return made

    return {
        f"{model.__name__}, {size}, {'2,048 negatives' if sampled else 'all items'}": make(model, size, sampled)
        for model in (SASRec, HSTU)
        for size in SIZES
        for sampled in (False, True)
    }


def measure(make: Make, device: torch.device, quick: bool) -> dict[str, Any]:
    """Targets per second in bf16-mixed, batches copied in every step; and the memory at most."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    task, size, batch_size = make()
    task.collection = task.table_settings.build(device)
    task.collection.lookup.gradients.may_be_scaled = False
    task.to(device)
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    optimizer = task.configure_optimizers()
    batches = [generated(size, batch_size, seed) for seed in range(4)]
    targets = [int((batch.lengths - 1).sum()) for batch in batches]
    if device.type == "cuda":
        batches = [batch.pin_memory() for batch in batches]
    rates = []
    for _ in range(2 if quick else 6):
        synchronize(device)
        start = perf_counter()
        for batch in batches:
            optimizer.zero_grad()
            with in_bf16(device):
                loss = task.training_step(batch.to(device), 0)
            loss.backward()
            optimizer.step()
        synchronize(device)
        rates.append(sum(targets) / (perf_counter() - start))
    peak = torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0
    return {"batch": batch_size, "k targets/s": median(rates[1:]) / 1e3, "peak GB": peak}
