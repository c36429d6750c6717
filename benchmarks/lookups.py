"""Milliseconds of reading, and of a step of, table rows alone: forward, backward and update, without a model.

    python benchmarks/lookups.py kernels [--threads 2] [--rounds 9]
    python benchmarks/lookups.py processes [--rounds 9]
    python benchmarks/lookups.py update [--rounds 9]

`kernels`: 26 features of 10 to 200,000 ids, width 16, row-wise Adagrad; beside them a history of 100 ids, alone and
together; and 26 hashed tables of two rows an id. Contenders are the lookups of this package and a bare FBGEMM kernel
with a feature for each read and a map to tables, whose reads are added up by torch. `processes`: two gloo processes
read one and two rows an id. `update`: what is left of a step when gradients are at hand, see row_updates.py. Contenders
run in turns; each number is the median over rounds, with processor time beside it, which other work on the machine
changes less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import machine

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.tables import (
    Bag,
    FbgemmLookup,
    Feature,
    FullTable,
    HashTable,
    NumbaLookup,
    RowWiseAdagrad,
    Sharding,
    TableCollection,
    TorchLookup,
    TorchrecLookup,
)

NUM_FEATURES, DIM, HISTORY, HISTORY_ROWS = 26, 16, 100, 200_000
SIZES = [round(10 * 20_000 ** (i / (NUM_FEATURES - 1))) for i in range(NUM_FEATURES)]
LOOKUPS = {"TorchLookup": TorchLookup, "NumbaLookup": NumbaLookup, "FbgemmLookup": FbgemmLookup}


def ids_of(batch_size: int, generator: torch.Generator) -> Tensor:
    """Ids [F, B], small ones more often."""
    return torch.stack([(torch.rand(batch_size, generator=generator) ** 3 * size).long() for size in SIZES])


class Ours:
    """A collection and batches for it."""

    def __init__(self, lookup, batch_size, single=True, history=False, num_lookups=0):
        features = [Feature(f"f{i}", f"f{i}") for i in range(NUM_FEATURES)] if single else []
        tables = {f"f{i}": self._table(f"f{i}", size, num_lookups) for i, size in enumerate(SIZES)} if single else {}
        if history:
            features.append(Feature("history", "history", "sum"))
            tables["history"] = FullTable("history", HISTORY_ROWS, DIM)
        self.collection = TableCollection(features, tables, optimizer=RowWiseAdagrad(0.05), lookup=lookup)
        generator = torch.Generator().manual_seed(0)
        self.ids = ids_of(batch_size, generator) if single else torch.zeros(0, batch_size, dtype=torch.int64)
        values = (torch.rand(batch_size * HISTORY, generator=generator) ** 3 * HISTORY_ROWS).long()
        self.bags = {"history": Bag(values, torch.full((batch_size,), HISTORY))} if history else {}

    @staticmethod
    def _table(name, size, num_lookups):
        if num_lookups:
            return HashTable(name, size, DIM, num_rows=max(4, size // 2), num_lookups=num_lookups)
        return FullTable(name, size, DIM)

    def step(self):
        vectors = self.collection(self.ids, self.bags)
        vectors.backward(torch.ones_like(vectors))
        self.collection.step()


class Bare:
    """FBGEMM's kernel with a feature for each read of each table, and a sum where an id reads several."""

    def __init__(self, batch_size, num_lookups):
        from fbgemm_gpu.split_embedding_configs import EmbOptimType
        from fbgemm_gpu.split_table_batched_embeddings_ops_common import BoundsCheckMode, EmbeddingLocation, PoolingMode
        from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
            ComputeDevice,
            SplitTableBatchedEmbeddingBagsCodegen,
        )

        rows = [max(4, size // 2) if num_lookups > 1 else size for size in SIZES]
        self.kernel = SplitTableBatchedEmbeddingBagsCodegen(
            [(each, DIM, EmbeddingLocation.HOST, ComputeDevice.CPU) for each in rows],
            feature_table_map=[table for table in range(NUM_FEATURES) for _ in range(num_lookups)],
            optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD,
            learning_rate=0.05,
            pooling_mode=PoolingMode.SUM,
            bounds_check_mode=BoundsCheckMode.NONE,
            device=torch.device("cpu"),
        )
        self.num_lookups = num_lookups
        ids = ids_of(batch_size, torch.Generator().manual_seed(0))
        wanted = torch.tensor(rows).view(-1, 1, 1)
        probes = torch.arange(num_lookups).view(1, -1, 1)
        self.rows = ((ids.unsqueeze(1) * (2 * probes + 1) + probes) % wanted).reshape(-1)
        self.offsets = torch.arange(self.rows.numel() + 1)

    def step(self):
        found = self.kernel(self.rows, self.offsets)
        vectors = found.unflatten(1, (NUM_FEATURES, self.num_lookups, DIM)).sum(2)
        vectors.backward(torch.ones_like(vectors))


def in_turns(contenders, rounds):
    """Wall and processor milliseconds of each contender's step, by name."""
    wall, busy = ({name: [] for name in contenders} for _ in range(2))
    for _ in range(rounds + 2):
        for name, contender in contenders.items():
            getattr(contender, "prepare", lambda: None)()
            start, used = perf_counter(), process_time()
            contender.step()
            wall[name].append(1e3 * (perf_counter() - start))
            busy[name].append(1e3 * (process_time() - used))
    return {name: (median(wall[name][2:]), median(busy[name][2:])) for name in contenders}


def kernels(threads, rounds):
    torch.set_num_threads(threads)
    batch_size = 2048
    single = {name: Ours(lookup, batch_size) for name, lookup in LOOKUPS.items()} | {"bare": Bare(batch_size, 1)}
    show("26 features", in_turns(single, rounds), "bare")
    hashed = {name: Ours(lookup, batch_size, num_lookups=2) for name, lookup in LOOKUPS.items()}
    show("26 features, two rows an id", in_turns(hashed | {"bare": Bare(batch_size, 2)}, rounds), "bare")
    for name, lookup in LOOKUPS.items():
        contenders = {
            "26 features": Ours(lookup, batch_size),
            "history of 100": Ours(lookup, batch_size, single=False, history=True),
            "both": Ours(lookup, batch_size, history=True),
        }
        found = in_turns(contenders, rounds)
        apart = [found["26 features"][i] + found["history of 100"][i] for i in range(2)]
        show(f"{name}, beside a history", found | {"apart": tuple(apart)}, "apart")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def show(title, found, first):
    print(f"\n{title}\n| | ms | x {first} | processor ms | x {first} |\n|--|--:|--:|--:|--:|")
    for name, (wall, busy) in found.items():
        print(f"| {name} | {wall:.1f} | {wall / found[first][0]:.2f} | {busy:.1f} | {busy / found[first][1]:.2f} |")


def processes(rounds):
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "LOGLEVEL": "ERROR"}
        subprocess.run([*command, "worker", "--folder", folder, "--rounds", str(rounds)], env=environment, check=True)
        show("two processes", json.loads(Path(folder, "found.json").read_text()), "one row an id")


def worker(folder, rounds):
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    lookup = partial(TorchrecLookup, sharding=Sharding())
    contenders = {
        "one row an id": Ours(lookup, 2048),
        "two rows an id": Ours(lookup, 2048, num_lookups=2),
        "a history of 100 besides": Ours(lookup, 2048, history=True),
    }
    found = in_turns(contenders, rounds)
    if dist.get_rank() == 0:
        Path(folder, "found.json").write_text(json.dumps(found))
    dist.barrier()
    os._exit(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["kernels", "processes", "update", "worker"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder")
    given = parser.parse_args()
    if given.job == "worker":
        worker(given.folder, given.rounds)
        return
    torch.set_num_threads(given.threads if given.job == "kernels" else 1)
    print(machine.line())
    if given.job == "update":
        from row_updates import show_updates

        show_updates(given.rounds)
    else:
        kernels(given.threads, given.rounds) if given.job == "kernels" else processes(given.rounds)


if __name__ == "__main__":
    main()
