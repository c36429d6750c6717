"""Click models, their sizes and their batches, for races on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import generated
import torch
from gpu_floor import product_flops
from torch import nn

from recsys.data import Column
from recsys.data.batch import Batch
from recsys.models import DLRM, DeepFM

NUM_FEATURES, NUM_BATCHES = 26, 6
BOTTOM, TOP, HIDDEN = (512, 256), (1024, 1024, 512, 256), (400, 400)


@dataclass(frozen=True)
class Setting:
    """A model, its width D and batch B, and the rows of its largest column."""

    model: str
    embedding_dim: int
    batch_size: int
    largest: int = 1_000_000

    def __str__(self) -> str:
        return f"{self.model} dim {self.embedding_dim} batch {self.batch_size:,}"

    def module(self, *sizes: int) -> nn.Module:
        """The dense part."""
        if self.model == "DLRM":
            return DLRM(*sizes, bottom_dims=BOTTOM, top_dims=TOP)
        return DeepFM(*sizes, hidden_dims=HIDDEN)

    @property
    def flops(self) -> float:
        """Of the products of a step."""
        dim, count = self.embedding_dim, NUM_FEATURES + 1
        if self.model == "DLRM":
            stacks = [(generated.NUM_DENSE, *BOTTOM, dim), (dim + count * (count - 1) // 2, *TOP, 1)]
            return product_flops(self.batch_size, stacks, count, dim)
        return product_flops(self.batch_size, [(NUM_FEATURES * dim + generated.NUM_DENSE, *HIDDEN, 1)], 0, dim)


SETTINGS = (
    Setting("DLRM", 128, 65_536),
    Setting("DeepFM", 16, 32_768),
    Setting("DLRM", 16, 65_536),
    Setting("DLRM", 128, 32_768),
    Setting("DLRM", 16, 32_768),
    Setting("DLRM", 128, 4_096),
    Setting("DLRM", 16, 4_096),
    Setting("DeepFM", 16, 65_536),
    Setting("DeepFM", 16, 4_096),
)
"""Those with a goal come first."""
GRAPHS: dict[str, dict[str, bool]] = {
    "captured": {"capture_model": True},
    "compiled, captured": {"compile_model": True, "capture_model": True},
}
"""What a GPU can do about a dense part of many small kernels."""
FED = (Setting("DLRM", 128, 65_536), Setting("DeepFM", 16, 32_768))
QUICK = (Setting("DLRM", 16, 512, 2_000), Setting("DeepFM", 16, 512, 2_000))


def sizes_of(setting: Setting) -> list[int]:
    """Rows of every column."""
    return generated.geometric_rows(setting.largest, NUM_FEATURES)


class Schema:
    """Stands in for that of a folder."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.categorical = tuple(Column(f"C{i + 1}", "categorical", size) for i, size in enumerate(sizes))
        self.columns, self.multi_valued = self.categorical, ()
        self.dense = tuple(f"I{i + 1}" for i in range(generated.NUM_DENSE))


def batches_of(setting: Setting, device: torch.device) -> list[Batch]:
    """Generated batches, on the device; in page-locked memory where that is the CPU of a GPU's host."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(NUM_BATCHES):
        uniform = torch.rand(NUM_FEATURES, setting.batch_size, generator=generator)
        # As frequent as in generated.zipf_ids.
        sizes = torch.tensor(sizes_of(setting)).unsqueeze(1)
        ids = (((sizes + 1).double() ** -0.05 - 1) * uniform + 1) ** -20
        ids = torch.minimum(ids.long() - 1, sizes - 1).clamp(min=0).int()
        dense = torch.rand(setting.batch_size, generated.NUM_DENSE, generator=generator)
        labels = (torch.rand(setting.batch_size, generator=generator) < 0.25).float()
        batch = Batch(ids, {}, dense, labels)
        found.append((batch.pin_memory() if torch.cuda.is_available() else batch).to(device))
    return found
