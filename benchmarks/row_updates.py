"""What a step of rows takes when their gradients are given: backward and update alone, beside FBGEMM's on a CPU.

A job of `lookups.py`. 26 features of 10 to 200,000 ids in one store or, in FBGEMM, one table each. Every contender
has the same rows, reads the same ids and is given the same gradients; what its first step has left is compared before
any is timed.
"""

from __future__ import annotations

import torch
from lookups import SIZES, ids_of, in_turns

from recsys.tables import SGD, Adagrad, Adam, PhysicalTable, RowWiseAdagrad
from recsys.tables.lookups.numba import NumbaStore
from recsys.tables.lookups.torch import TorchStore

EPS, RATE = 1e-8, 0.05
OPTIMIZERS = [SGD(RATE), Adagrad(RATE, eps=EPS), RowWiseAdagrad(RATE, eps=EPS), Adam(RATE, eps=EPS)]
TOLERANCE = 1e-6
STORES = {"NumbaStore": NumbaStore, "TorchStore": TorchStore}


class StoreUpdate:
    """The step of a store of all features' rows."""

    def __init__(self, store_class, optimizer, ids, grad):
        tables = [PhysicalTable(f"f{i}", size, grad.shape[1], init_std=0.1) for i, size in enumerate(SIZES)]
        self.store = store_class(tables, optimizer, torch.float32, torch.device("cpu"), 0)
        self.store.draw()
        first_rows = torch.tensor(list(self.store.first_rows.values()))
        self.rows, self.grad = (ids + first_rows.unsqueeze(1)).t().reshape(-1), grad

    def step(self):
        self.store.num_steps += 1
        self.store.step(self.rows, self.grad, RATE)

    def weight(self):
        return self.store.matrix("weight")


class KernelUpdate:
    """The backward pass of FBGEMM's kernel, which is its update; the forward pass before it is not timed."""

    def __init__(self, optimizer, ids, grad, weight):
        from fbgemm_gpu.split_embedding_configs import EmbOptimType
        from fbgemm_gpu.split_table_batched_embeddings_ops_common import BoundsCheckMode, EmbeddingLocation, PoolingMode
        from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
            ComputeDevice,
            SplitTableBatchedEmbeddingBagsCodegen,
        )

        dim = grad.shape[1]
        self.kernel = SplitTableBatchedEmbeddingBagsCodegen(
            [(size, dim, EmbeddingLocation.HOST, ComputeDevice.CPU) for size in SIZES],
            optimizer=EmbOptimType[optimizer.kernel],
            learning_rate=RATE,
            eps=EPS,
            pooling_mode=PoolingMode.SUM,
            bounds_check_mode=BoundsCheckMode.NONE,
            device=torch.device("cpu"),
        )
        for part, values in zip(self.kernel.split_embedding_weights(), weight.split(SIZES), strict=True):
            part.data.copy_(values)
        self.rows, self.offsets = ids.reshape(-1), torch.arange(ids.numel() + 1)
        self.grad = grad.view(ids.shape[1], -1)

    def prepare(self):
        self.found = self.kernel(self.rows, self.offsets)

    def step(self):
        self.found.backward(self.grad)

    def weight(self):
        return torch.cat([each.detach() for each in self.kernel.split_embedding_weights()])


def contenders(optimizer, dim, batch_size):
    """Those that have the optimiser, by name.

    Raises:
        AssertionError: if the first step leaves them different rows.
    """
    generator = torch.Generator().manual_seed(0)
    ids = ids_of(batch_size, generator)
    # Small, as those of a mean loss: rows that thousands of samples read are stepped by numbers of order 1.
    grad = torch.randn(ids.numel(), dim, generator=generator) / batch_size
    found = {name: StoreUpdate(each, optimizer, ids, grad) for name, each in STORES.items()}
    if optimizer.kernel:
        found = {"FBGEMM": KernelUpdate(optimizer, ids, grad, found["NumbaStore"].weight()), **found}
    for contender in found.values():
        getattr(contender, "prepare", lambda: None)()
        contender.step()
    expected = found["TorchStore"].weight()
    for name, contender in found.items():
        difference = float((contender.weight() - expected).abs().max())
        assert difference <= TOLERANCE, f"{name} differs from TorchStore by {difference:.1e}"
    return found


def show_updates(rounds):
    """Print processor milliseconds of each optimiser, width, batch and number of threads."""
    print("\n| optimiser | width | batch | threads | FBGEMM ms | NumbaStore | TorchStore | FBGEMM / NumbaStore |")
    print("|--|--:|--:|--:|--:|--:|--:|--:|")
    for optimizer in OPTIMIZERS:
        for dim in (16, 64):
            for batch_size in (2048, 8192):
                found = contenders(optimizer, dim, batch_size)
                for threads in (1, 2):
                    torch.set_num_threads(threads)
                    times = in_turns(found, rounds)
                    cells = [f"{times[name][1]:.2f}" if name in times else "" for name in ("FBGEMM", *STORES)]
                    ratio = f"{times['FBGEMM'][1] / times['NumbaStore'][1]:.1f}" if "FBGEMM" in times else ""
                    name = type(optimizer).__name__
                    print(
                        f"| {name} | {dim} | {batch_size:,} | {threads} | {' | '.join(cells)} | {ratio} |", flush=True
                    )
