"""The lookup on FBGEMM's table-batched kernels: one fused call for all tables of a batch, on one device.

fbgemm_gpu is imported when the first store is built, so that the rest of recsys.tables needs torch alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from recsys.tables.base import PhysicalTable
from recsys.tables.lookups.base import Lookup, Slots, Store
from recsys.tables.lookups.optimizers import SGD, Adagrad, RowWiseAdagrad, TableOptimizer
from recsys.tables.lookups.padding import KERNEL_ALIGNMENT, padded, padding_scale, unpadded_settings
from recsys.tables.lookups.torch import TorchStore


def _build_kernel(tables: Sequence[PhysicalTable], optimizer: TableOptimizer, device: torch.device) -> Any:
    """A SplitTableBatchedEmbeddingBagsCodegen with one feature per table."""
    from fbgemm_gpu.split_embedding_configs import EmbOptimType
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import BoundsCheckMode, EmbeddingLocation, PoolingMode
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )

    on_cpu = device.type == "cpu"
    place = EmbeddingLocation.HOST if on_cpu else EmbeddingLocation.DEVICE
    compute = ComputeDevice.CPU if on_cpu else ComputeDevice.CUDA
    kinds = {
        SGD: EmbOptimType.EXACT_SGD,
        Adagrad: EmbOptimType.EXACT_ADAGRAD,
        RowWiseAdagrad: EmbOptimType.EXACT_ROWWISE_ADAGRAD,
    }
    return SplitTableBatchedEmbeddingBagsCodegen(
        [(table.num_rows, padded(table.row_dim), place, compute) for table in tables],
        optimizer=kinds[type(optimizer)],
        learning_rate=optimizer.learning_rate,
        eps=getattr(optimizer, "eps", 1e-8),
        pooling_mode=PoolingMode.SUM,
        bounds_check_mode=BoundsCheckMode.FATAL,
        device=device,
    )


class FbgemmStore(Store):
    """Matrices that one slot each reads: a feature of the kernel per slot, bags of one id."""

    def __init__(
        self,
        tables: Sequence[PhysicalTable],
        requests: Sequence[Slots],
        optimizer: TableOptimizer,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        by_name = {table.name: table for table in tables}
        in_slot_order = [by_name[name] for slots in requests for name in slots] if len(tables) > 1 else list(tables)
        super().__init__(in_slot_order, requests, optimizer, dtype, device)
        row_dim = tables[0].row_dim
        self._pads = padded(row_dim) != row_dim
        self._kernel_settings = unpadded_settings(optimizer, row_dim) if self._pads else optimizer
        # In a tuple, so that the kernel's matrix is not a parameter of the module: its backward pass is its optimizer.
        self._kernel = (_build_kernel(self.tables, self._kernel_settings, device),)
        self._offsets = torch.zeros(0, dtype=torch.int64)
        for table in self.tables:
            self.load_tensor(table.name, "weight", table.initial_rows(dtype))

    def _call(self, rows: Tensor, offsets: Tensor | None = None) -> Tensor:
        """The kernel [N, W]; without offsets, on bags of one id."""
        if offsets is None:
            if self._offsets.numel() < rows.numel() + 1 or self._offsets.dtype != rows.dtype:
                self._offsets = torch.arange(rows.numel() + 1, dtype=rows.dtype, device=rows.device)
            offsets = self._offsets[: rows.numel() + 1]
        if not torch.is_inference_mode_enabled():
            answer: Tensor = self._kernel[0](rows, offsets)
            return answer
        # The CPU kernel is registered with autograd alone, which inference mode leaves out.
        with torch.inference_mode(False), torch.no_grad():
            return self._kernel[0](rows.clone(), offsets.clone())

    def forward(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """See Store."""
        flat = torch.cat([asked.reshape(-1) for asked in rows]) if len(rows) > 1 else rows[0].reshape(-1)
        num_ids = [asked.shape[1] for asked in rows]
        if flat.numel() == 0:
            return [flat.new_zeros(0, sum(self.slot_dims(i)), dtype=self.dtype) for i in range(len(rows))]
        widths = [sum(padded(dim) for dim in self.slot_dims(request)) for request in range(len(rows))]
        offsets = None if len(set(num_ids)) == 1 else self._ragged_offsets(num_ids, flat)
        answers = self._call(flat, offsets).split(widths, dim=1)
        return [self._unpad(answer[:num], i) for i, (answer, num) in enumerate(zip(answers, num_ids, strict=True))]

    def _ragged_offsets(self, num_ids: list[int], flat: Tensor) -> Tensor:
        """Requests of unlike lengths in one call: the shorter ones end in empty bags, which touch no row."""
        lengths = [num for num, slots in zip(num_ids, self.requests, strict=True) for _ in slots]
        ends = torch.tensor(lengths, dtype=flat.dtype, device=flat.device).unsqueeze(1)
        steps = torch.arange(1, max(lengths) + 1, dtype=flat.dtype, device=flat.device)
        offsets = torch.minimum(steps, ends) + (ends.cumsum(0, dtype=flat.dtype) - ends)
        return torch.cat([offsets.new_zeros(1), offsets.reshape(-1)])

    def _unpad(self, answer: Tensor, request: int) -> Tensor:
        if not self._pads:
            return answer
        row_dim = self.tables[0].row_dim
        return answer.unflatten(1, (len(self.requests[request]), padded(row_dim)))[..., :row_dim].flatten(1)

    def tensors(self, table: str) -> dict[str, Tensor]:
        """A view of a matrix and, rescaled where padded, of its state."""
        kernel, position = self._kernel[0], self._position(table)
        row_dim = self.row_dims[table]
        found = {"weight": kernel.split_embedding_weights()[position].detach()[:, :row_dim]}
        if self.optimizer.state_dims(row_dim):
            state = kernel.split_optimizer_states()[position][0].detach().view(self.tables[position].num_rows, -1)
            found["momentum"] = state[:, :row_dim] * padding_scale(self.optimizer, row_dim)
        return found

    def _position(self, table: str) -> int:
        return next(i for i, each in enumerate(self.tables) if each.name == table)

    @torch.no_grad()
    def load_tensor(self, table: str, kind: str, values: Tensor) -> None:
        """See Store."""
        position = self._position(table)
        physical = self.tables[position]
        if kind == "weight":
            matrix = self._kernel[0].split_embedding_weights()[position]
            matrix[:, physical.row_dim :].zero_()
        else:
            matrix = self._kernel[0].split_optimizer_states()[position][0].view(physical.num_rows, -1)
            values = values / padding_scale(self.optimizer, physical.row_dim)
        matrix[:, : physical.row_dim].copy_(values)

    @torch.no_grad()
    def reset_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """See Store; columns of padding stay zero."""
        position = next(i for i, t in enumerate(self.tables) if t.name == table)
        physical = self.tables[position]
        self._kernel[0].split_embedding_weights()[position][rows, : physical.row_dim] = values
        if self.optimizer.state_dims(physical.row_dim):
            self._kernel[0].split_optimizer_states()[position][0].view(physical.num_rows, -1)[rows] = 0

    def set_learning_rate(self, learning_rate: float) -> None:
        """See Store."""
        scaled = replace(self.optimizer, learning_rate=learning_rate)
        settings = unpadded_settings(scaled, self.tables[0].row_dim) if self._pads else scaled
        self._kernel[0].set_learning_rate(settings.learning_rate)

    def stored_bytes(self, table: PhysicalTable) -> int:
        """Bytes with rows padded to the kernel's alignment."""
        return table.num_rows * padded(table.row_dim) * self.dtype.itemsize


class FbgemmSharedStore(FbgemmStore):
    """One matrix that many slots read: a single feature of the kernel, ids row-major, which is twice as fast."""

    def forward(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """See Store."""
        flat = torch.cat([asked.t().reshape(-1) for asked in rows])
        if flat.numel() == 0:
            return [flat.new_zeros(0, sum(self.slot_dims(i)), dtype=self.dtype) for i in range(len(rows))]
        vectors = self._call(flat)[:, : self.tables[0].row_dim].split([asked.numel() for asked in rows])
        widths = [sum(self.slot_dims(request)) for request in range(len(rows))]
        return [vector.reshape(-1, width) for vector, width in zip(vectors, widths, strict=True)]


class FbgemmLookup(Lookup):
    """Fused kernels where they exist; torch for the rest.

    The rest: Adam, weight decay, dense gradients, frozen rows, and dtypes other than float32.
    """

    def store_key(
        self, table: PhysicalTable, optimizer: TableOptimizer, num_slots: int, dtype: torch.dtype
    ) -> Hashable:
        """Aligned widths share a kernel; a padded width, and a matrix that several slots read, get their own."""
        fused = type(optimizer) in (SGD, Adagrad, RowWiseAdagrad) and dtype == torch.float32
        if not fused or optimizer.weight_decay:
            return (TorchStore, optimizer, table.row_dim)
        if num_slots != 1:
            return (FbgemmSharedStore, optimizer, table.name)
        padded_dim = table.row_dim if table.row_dim % KERNEL_ALIGNMENT else None
        return (FbgemmStore, optimizer, padded_dim)
