"""The lookup on FBGEMM's table-batched kernels, on one device.

fbgemm_gpu is imported when the first store is built, so that the rest of recsys.tables needs torch alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recsys.tables.lookups.base import Lookup
from recsys.tables.lookups.optimizers import TableOptimizer
from recsys.tables.lookups.store import Store
from recsys.tables.lookups.summed import added_up
from recsys.tables.lookups.torch import TorchStore, coalesce, coalesce_in_place
from recsys.tables.physical import PhysicalTable

KERNEL_ALIGNMENT = 4
"""The kernels read rows in groups of four values."""

_INT32_MAX = 2**31 - 1


def _build_kernel(
    num_rows: int, row_dim: int, optimizer: TableOptimizer, device: torch.device, location: str | None
) -> Any:
    """A SplitTableBatchedEmbeddingBagsCodegen of one table and one feature: each row that is read is a bag of one."""
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import BoundsCheckMode, EmbeddingLocation, PoolingMode
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )

    on_cpu = device.type == "cpu"
    place = EmbeddingLocation.HOST if on_cpu else EmbeddingLocation[location or "DEVICE"]
    compute = ComputeDevice.CPU if on_cpu else ComputeDevice.CUDA
    return SplitTableBatchedEmbeddingBagsCodegen(
        [(num_rows, row_dim, place, compute)],
        optimizer=EmbOptimType[optimizer.kernel or ""],
        learning_rate=optimizer.learning_rate,
        eps=getattr(optimizer, "eps", 1e-8),
        pooling_mode=PoolingMode.SUM,
        bounds_check_mode=BoundsCheckMode.NONE,
        device=device,
    )


@dataclass(frozen=True)
class _Read:
    """A read of the kernel, whose backward pass may follow.

    Args:
        rows: row numbers as they were asked for.
        found: what the kernel gave.
        version: of the matrix then.
    """

    rows: Tensor
    found: Tensor
    version: int


class FbgemmStore(Store):
    """Matrices of one width, stacked into one table of a kernel, and after them a spare row for "no row".

    Ids are checked where they come in, and tables route them to rows that exist, so the kernel checks no bounds.

    Args:
        tables: the matrices.
        optimizer: one that has a kernel.
        dtype: float32.
        device: where they live.
        seed: that rows are drawn from.
        location: FBGEMM's word for where a GPU's rows are; None for its own memory.
    """

    def __init__(
        self,
        tables: Sequence[PhysicalTable],
        optimizer: TableOptimizer,
        dtype: torch.dtype,
        device: torch.device,
        seed: int,
        location: str | None = None,
    ) -> None:
        super().__init__(tables, optimizer, dtype, device, seed)
        self._is_cached = location == "MANAGED_CACHING"
        # In a tuple, so that the kernel's matrix is not a parameter of the module: its backward pass is its optimizer.
        self._kernel = (_build_kernel(self.num_rows + 1, self.row_dim, optimizer, device, location),)
        self._offsets: dict[int, Tensor] = {}
        self._rate = optimizer.learning_rate
        self._read: _Read | None = None

    steps_sums = True

    def _call(self, rows: Tensor, num_summed: int) -> Tensor:
        """The kernel [N, D] on bags of K ids of row numbers [N * K]."""
        offsets, needed = self._offsets.get(num_summed), rows.numel() // num_summed + 1
        fits = offsets is not None and offsets.numel() >= needed
        if offsets is None or not fits or offsets.device != rows.device or offsets.dtype != rows.dtype:
            offsets = torch.arange(needed, dtype=rows.dtype, device=rows.device) * num_summed
            self._offsets[num_summed] = offsets
        found: Tensor = self._kernel[0](rows, offsets[:needed])
        return found

    def gather(self, rows: Tensor) -> Tensor:
        """See Store."""
        return self.gather_sums(rows, 1)

    def gather_sums(self, rows: Tensor, num_summed: int) -> Tensor:
        """See Store."""
        if rows.numel() == 0:
            return torch.zeros(0, self.row_dim, dtype=self.dtype, device=rows.device)
        # The CPU kernel is registered with autograd alone, which inference mode leaves out.
        with torch.inference_mode(False), torch.no_grad():
            if self._is_cached:
                # What is written to the spare row beside the cache would be read from it only by chance.
                found = self._call(self._in_kernel(rows), 1).masked_fill(rows.unsqueeze(1) < 0, 0)
                return added_up(found, num_summed)
            # Behind autograd's back, to which the matrix would have changed since the last read.
            self.matrix("weight").data[-1].zero_()
            with torch.set_grad_enabled(self.training):
                found = self._call(self._in_kernel(rows), num_summed)
            self._read = _Read(rows, found, self._rows_version) if self.training else None
            return found.detach()

    def _in_kernel(self, rows: Tensor) -> Tensor:
        # A GPU sorts half as many bytes.
        is_short = rows.device.type == "cuda" and self.num_rows < _INT32_MAX
        return (rows.int() if is_short else rows).masked_fill(rows < 0, self.num_rows)

    def step(self, rows: Tensor, grad: Tensor, learning_rate: float) -> None:
        """See Store."""
        self.step_sums(rows, 1, grad, learning_rate)

    def step_sums(self, rows: Tensor, num_summed: int, grad: Tensor, learning_rate: float) -> None:
        """See Store: the kernel's own backward pass adds up what is given to equal rows.

        It follows the read that these gradients are of, if that was the last one and nothing has changed since.
        """
        if rows.numel() == 0:
            return
        read, self._read = self._read, None
        if learning_rate != self._rate:
            self._kernel[0].set_learning_rate(learning_rate)
            self._rate, read = learning_rate, None
        with torch.inference_mode(False), torch.enable_grad():
            if read is None or read.rows is not rows or read.version != self._rows_version:
                found = self._call(self._in_kernel(rows), num_summed)
            else:
                found = read.found
            found.backward(grad)

    @property
    def _rows_version(self) -> int:
        """Changes when rows are written."""
        return self.matrix("weight")._version

    def __getstate__(self) -> dict[str, Any]:
        """A copy has read nothing yet."""
        return {**self.__dict__, "_read": None}

    def forget_cached(self) -> None:
        """See Store; asking for the matrix, to write to it, has flushed newer copies before."""
        if self._is_cached:
            self._kernel[0].reset_cache_states()

    def merged(self, rows: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """See Store."""
        if rows.device.type == "cpu":
            return coalesce(rows, grad, self.num_rows)
        return coalesce_in_place(rows, grad, self.num_rows)

    def square_norm(self, rows: Tensor, grad: Tensor) -> Tensor:
        """See Store."""
        distinct, summed = self.merged(rows, grad)
        return summed.square().sum(1).masked_fill(distinct == self.num_rows, 0).sum()

    def matrix(self, kind: str) -> Tensor:
        """See Store; the spare row is the last."""
        kernel = self._kernel[0]
        if kind == "weight":
            if self._is_cached:
                # Rows that were stepped lie in the cache, newer than where they are kept.
                kernel.flush()
            weight: Tensor = kernel.split_embedding_weights()[0].detach()
            return weight
        state: Tensor = kernel.split_optimizer_states()[0][0].detach().view(self.num_rows + 1, -1)
        return state


class FbgemmLookup(Lookup):
    """Fused kernels where they exist; torch for the rest.

    The rest: Adam, weight decay, dense gradients, frozen rows, dtypes other than float32, and widths that are no
    multiple of four.
    """

    def store_key(self, table: PhysicalTable, optimizer: TableOptimizer, dtype: torch.dtype) -> Hashable:
        """One kernel per width and optimiser."""
        fits = dtype == torch.float32 and table.row_dim % KERNEL_ALIGNMENT == 0
        return (FbgemmStore if fits and optimizer.has_kernel else TorchStore, optimizer, table.row_dim)
