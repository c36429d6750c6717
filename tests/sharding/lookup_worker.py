"""One of four processes that train sharded tables of every kind; started by torchrun, or called for the oracle."""

import os
import sys
import warnings

import torch
import torch.distributed as dist

from recsys.tables import (
    LRU,
    SGD,
    Adagrad,
    Bag,
    Feature,
    FullTable,
    Lookup,
    ManagedCollisionTable,
    MixedDimTable,
    QRTable,
    RowWiseAdagrad,
    TableCollection,
    TorchrecLookup,
    UnifiedTable,
)

OPTIMIZERS = (RowWiseAdagrad(0.05), Adagrad(0.05), SGD(0.1))
NUM_IDS, DIM, BATCH = (50, 400, 300, 300, 200), 6, 12
SHARES = {1: (0, 12), 4: (0, 5, 7, 7, 12)}
"""Where the samples of each process begin and end: unequal, and none for the third of four."""


def train(optimizer, lookup: type[Lookup], rank: int, num_ranks: int) -> dict[str, torch.Tensor]:
    """Twenty steps; a loss that is a sum over samples, scaled as a mean over processes wants it."""
    torch.manual_seed(0)
    tables = {
        "full": FullTable("full", NUM_IDS[0], DIM),
        "unified": UnifiedTable("unified", NUM_IDS[1], DIM, num_rows=37, num_lookups=2),
        "qr": QRTable("qr", NUM_IDS[2], DIM),
        "mixed": MixedDimTable("mixed", NUM_IDS[3], DIM, alpha=0.3),
        "managed": ManagedCollisionTable("managed", NUM_IDS[4], DIM, num_rows=30, policy=LRU(), eviction_interval=3),
        "tags": FullTable("tags", 20, DIM),
    }
    features = [Feature(name, name, "mean" if name == "tags" else None) for name in tables]
    collection = TableCollection(features, tables, optimizer=optimizer, lookup=lookup)
    generator = torch.Generator().manual_seed(1)
    start, stop = SHARES[num_ranks][rank : rank + 2]
    for _ in range(20):
        ids = torch.stack([torch.randint(0, size, (BATCH,), generator=generator) for size in NUM_IDS])
        lengths = torch.randint(0, 3, (BATCH,), generator=generator)
        values = torch.randint(0, 20, (int(lengths.sum()),), generator=generator)
        wanted = torch.randn(BATCH, len(tables), DIM, generator=generator)
        first, last = int(lengths[:start].sum()), int(lengths[:stop].sum())
        tags = Bag(values[first:last], lengths[start:stop])
        vectors = collection(ids[:, start:stop], {"tags": tags})
        (num_ranks * (vectors * wanted[start:stop]).sum()).backward()
    return {name: values.clone() for name, values in collection.state_dict().items()}


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    found = [train(optimizer, TorchrecLookup, dist.get_rank(), dist.get_world_size()) for optimizer in OPTIMIZERS]
    if dist.get_rank() == 0:
        torch.save(found, sys.argv[1])
    dist.barrier()
    # gloo's threads now and then abort a process that leaves in the ordinary way, after all is done.
    os._exit(0)
