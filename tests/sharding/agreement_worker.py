"""One of two processes with seeds of their own: what is made, what is trained, and what is sent."""

import os
import sys
import warnings
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from recsys.sharding.report import plan_of
from recsys.tables import (
    LRU,
    Adam,
    Bag,
    DenseGradient,
    Feature,
    Frozen,
    FullTable,
    HashTable,
    ManagedCollisionTable,
    MixedDimTable,
    RowWiseAdagrad,
    Sharding,
    TableCollection,
    TableSharding,
    TorchrecLookup,
)

DIM, BATCH, HISTORY = 8, 64, 50
LOOKUP = partial(TorchrecLookup, sharding=Sharding(replicate_rows=30))


def made_of_unlike_seeds() -> dict[str, torch.Tensor]:
    """All rows and parameters as this process has them, after a step in which the second process has no sample."""
    tables = {
        "replicated": FullTable("replicated", 20, DIM),
        "frozen": FullTable("frozen", 40, DIM),
        "dense": FullTable("dense", 10, DIM),
        "sharded": FullTable("sharded", 50, DIM),
        "one": FullTable("one", 1, DIM),
        "mixed": MixedDimTable("mixed", 60, DIM, row_dim=4),
        "managed": ManagedCollisionTable("managed", 90, DIM, num_rows=40, policy=LRU(), eviction_interval=1),
    }
    optimizers = {"frozen": Frozen(), "dense": DenseGradient(), "one": Adam(0.1)}
    # One row on two processes: one of them holds none.
    lookup = partial(TorchrecLookup, sharding=Sharding({"one": TableSharding("row_wise")}, replicate_rows=30))
    features = [Feature(name, name) for name in tables]
    collection = TableCollection(features, tables, optimizer=optimizers, lookup=lookup)
    sizes = torch.tensor([table.num_embeddings for table in tables.values()]).unsqueeze(1)
    ids = (torch.arange(7) * 13 % sizes)[:, : 0 if dist.get_rank() else 7]
    for _ in range(2):
        collection(ids).square().sum().backward()
        collection.step()
    found = {
        f"{name}.{kind}": values.clone()
        for name in collection.lookup.tables
        for kind, values in collection.lookup.tensors(name).items()
    }
    return found | {f"tables.{name}": value.detach() for name, value in collection.tables.state_dict().items()}


class Wire:
    """Counts the bytes of row numbers and rows that this process gives to others."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self._exchange, self._reduce = dist.all_to_all_single, dist.all_reduce
        dist.all_to_all_single, dist.all_reduce = self.exchange, self.reduce

    def exchange(self, output, values, output_splits=None, input_splits=None, **settings):
        splits = input_splits or [len(values) // dist.get_world_size()] * dist.get_world_size()
        away = sum(count for rank, count in enumerate(splits) if rank != dist.get_rank())
        self.num_bytes += away * values[:1].numel() * values.element_size()
        return self._exchange(output, values, output_splits, input_splits, **settings)

    def reduce(self, values, **settings):
        num_ranks = dist.get_world_size()
        self.num_bytes += 2 * (num_ranks - 1) / num_ranks * values.numel() * values.element_size()
        return self._reduce(values, **settings)


def sent(collection: TableCollection, ids: torch.Tensor, bags: dict[str, Bag]) -> tuple[float, float]:
    """Bytes that the plan says that this process sends in a step, and those that it sends."""
    reads = {"history": BATCH * HISTORY} if "history" in bags else {}
    planned = sum(
        line.sent_bytes_per_step
        + line.sent_bytes_per_id * reads.get(line.table, BATCH * collection.lookup.reads[line.table])
        for line in plan_of(collection)
    )
    wire = Wire()
    collection(ids, bags).sum().backward()
    collection.step()
    dist.all_to_all_single, dist.all_reduce = wire._exchange, wire._reduce
    return planned, wire.num_bytes


def traffic() -> dict[str, tuple[float, float]]:
    """Ten single-valued features beside a long history, and ten hashed ones, which are replicated, whole or by rows."""
    generator = torch.Generator().manual_seed(dist.get_rank())
    sizes = [20, 500, 500, 500, 500, 500, 500, 500, 500, 9_000]
    ids = torch.stack([torch.randint(0, size, (BATCH,), generator=generator) for size in sizes])
    names = [f"f{i}" for i in range(10)]
    tables = {name: FullTable(name, size, DIM) for name, size in zip(names, sizes, strict=True)}
    hashed = {n: HashTable(n, size, DIM, num_rows=400, num_lookups=2) for n, size in zip(names, sizes, strict=True)}
    features = [Feature(name, name) for name in names]
    history = Bag(torch.randint(0, 9_000, (BATCH * HISTORY,), generator=generator), torch.full((BATCH,), HISTORY))
    beside = {**tables, "history": FullTable("history", 9_000, DIM)}
    collections = {
        "history": (
            TableCollection([*features, Feature("history", "history", "mean")], beside, lookup=LOOKUP),
            history,
        ),
        "hashed": (TableCollection(features, hashed, optimizer=RowWiseAdagrad(0.1), lookup=LOOKUP), None),
    }
    return {
        name: sent(collection, ids, {} if bag is None else {"history": bag})
        for name, (collection, bag) in collections.items()
    }


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.manual_seed(dist.get_rank())
    made = made_of_unlike_seeds()
    torch.save({"made": made, "sent": traffic()}, Path(sys.argv[1], f"{dist.get_rank()}.pt"))
    dist.barrier()
    os._exit(0)
