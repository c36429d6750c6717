"""One of several processes that train, save and load sharded tables of every kind; also called for the oracle."""

import os
import sys
import warnings
from functools import partial
from itertools import product
from pathlib import Path

import torch
import torch.distributed as dist

from recsys.checkpoints import folder as checkpoint_folder
from recsys.tables import (
    LRU,
    SGD,
    Adagrad,
    Adam,
    Bag,
    CCETable,
    ContentTable,
    DeepHashTable,
    Feature,
    FullTable,
    GateTable,
    HashEmbeddingTable,
    ManagedCollisionTable,
    MixedDimTable,
    PrunedTable,
    QRTable,
    RowWiseAdagrad,
    SemanticIdTable,
    Sharding,
    TableCollection,
    TableSharding,
    TorchrecLookup,
    TTTable,
    UnifiedTable,
)
from recsys.tables.lookups.base import LookupFactory

OPTIMIZERS = {"row_wise_adagrad": RowWiseAdagrad(0.05), "adagrad": Adagrad(0.05), "sgd": SGD(0.1), "adam": Adam(0.02)}
SHARDINGS = {
    kind: Sharding({"*": TableSharding(kind)}, ranks_per_host=2)
    for kind in ("data_parallel", "table_wise", "row_wise", "column_wise", "table_row_wise", "grid_shard")
}
SHARDINGS["planner"] = Sharding(planner=True, replicate_rows=30, ranks_per_host=2)
SHARDINGS["planner_columns"] = Sharding({"*": TableSharding("column_wise")}, planner=True, ranks_per_host=2)
SHARDINGS["mixed"] = Sharding(
    {"unified": TableSharding("row_wise"), "q*": TableSharding("table_wise")}, replicate_rows=60, ranks_per_host=2
)
IMPOSSIBLE = {(kind, "row_wise_adagrad") for kind in ("column_wise", "grid_shard", "planner_columns")}
LEFT_OUT = {(kind, "adam") for kind in ("table_wise", "table_row_wise", "planner", "planner_columns", "mixed")}
CASES = [case for case in product(SHARDINGS, OPTIMIZERS) if case not in IMPOSSIBLE | LEFT_OUT]

NUM_IDS, DIM, BATCH = (50, 400, 300, 300, 200, 90, 80, 60, 70, 500, 90), 8, 12
SHARES = {1: (0, 12), 2: (0, 12, 12), 4: (0, 5, 7, 7, 12)}
"""Where the samples of each process begin and end: unequal, and none for one of them."""


def _semantic_ids(name: str, num_embeddings: int, embedding_dim: int, **arguments: float) -> SemanticIdTable:
    """Prefixes of up to three codes; some ids have fewer, or none."""
    ids = torch.arange(num_embeddings)
    codes, lengths = torch.stack([ids % 5, ids % 7, ids % 3]), ids % 4
    return SemanticIdTable(name, num_embeddings, embedding_dim, codes=codes, lengths=lengths, num_rows=40, **arguments)


def _content(name: str, num_embeddings: int, embedding_dim: int, **arguments: float) -> ContentTable:
    """Rows that are given and frozen."""
    vectors = torch.randn(num_embeddings, 5, generator=torch.Generator().manual_seed(5))
    return ContentTable(name, num_embeddings, embedding_dim, vectors=vectors, **arguments)


def collection_of(optimizer: str, lookup: LookupFactory) -> TableCollection:
    torch.manual_seed(0)
    tables = {
        "full": FullTable("full", NUM_IDS[0], DIM),
        "unified": UnifiedTable("unified", NUM_IDS[1], DIM, num_rows=37, num_lookups=2),
        "qr": QRTable("qr", NUM_IDS[2], DIM),
        "mixed": MixedDimTable("mixed", NUM_IDS[3], DIM, alpha=0.3),
        "managed": ManagedCollisionTable("managed", NUM_IDS[4], DIM, num_rows=40, policy=LRU(), eviction_interval=3),
        "weighted": HashEmbeddingTable("weighted", NUM_IDS[5], DIM, num_rows=31, num_weights=45),
        "pruned": PrunedTable("pruned", NUM_IDS[6], DIM, num_rows=33),
        "deep": DeepHashTable("deep", NUM_IDS[7], DIM, hidden_dim=5, num_hashes=7),
        "cce": CCETable("cce", NUM_IDS[8], DIM, num_clusters=40, num_chunks=2, num_pointers=30),
        "train": TTTable("train", NUM_IDS[9], DIM, rank=2),
        "items": GateTable("items", NUM_IDS[10], DIM, tables=[_semantic_ids, _content]),
        "tags": FullTable("tags", 20, DIM),
    }
    features = [Feature(name, name, "mean" if name == "tags" else None) for name in tables]
    return TableCollection(features, tables, optimizer=OPTIMIZERS[optimizer], lookup=lookup)


def train(collection: TableCollection, rank: int, num_ranks: int, seed: int = 1) -> None:
    """Twenty steps, and the end of an epoch after ten.

    The loss is a sum over samples, scaled as a mean over processes wants it.
    """
    generator = torch.Generator().manual_seed(seed)
    start, stop = SHARES[num_ranks][rank : rank + 2]
    for step in range(20):
        ids = torch.stack([torch.randint(0, size, (BATCH,), generator=generator) for size in NUM_IDS])
        lengths = torch.randint(0, 3, (BATCH,), generator=generator)
        values = torch.randint(0, 20, (int(lengths.sum()),), generator=generator)
        wanted = torch.randn(BATCH, len(collection.features), DIM, generator=generator)
        first, last = int(lengths[:start].sum()), int(lengths[:stop].sum())
        tags = Bag(values[first:last], lengths[start:stop])
        vectors = collection(ids[:, start:stop], {"tags": tags})
        (num_ranks * (vectors * wanted[start:stop]).sum()).backward()
        collection.step()
        if step == 9:
            collection.end_epoch()


def rows_of(collection: TableCollection) -> dict[str, torch.Tensor]:
    """Every matrix and its optimiser state, whole, which ids have rows, and which share them."""
    lookup = collection.lookup
    found = {f"{name}.{kind}": v.clone() for name in lookup.tables for kind, v in lookup.tensors(name).items()}
    for name in ("managed", "cce"):
        found |= {f"{name}.{kind}": v.clone() for kind, v in collection.table(name).state_dict().items()}
    return found


def load(collection: TableCollection, path: Path) -> None:
    """Each process reads its part."""
    own = collection.state_dict()
    found = checkpoint_folder.read(path, lambda keys: own[keys[1]] if hasattr(own[keys[1]], "local_shards") else None)
    collection.load_state_dict(found["state_dict"])


def main(folder: Path) -> None:
    """Train every case from where other processes left it, if they did, and leave what comes out."""
    rank, num_ranks = dist.get_rank(), dist.get_world_size()
    found = {}
    for sharding, optimizer in CASES:
        collection = collection_of(optimizer, partial(TorchrecLookup, sharding=SHARDINGS[sharding]))
        before = folder / f"{sharding}-{optimizer}-4.ckpt"
        if num_ranks < 4:
            load(collection, before)
            found[f"{sharding}-{optimizer}-loaded"] = rows_of(collection)
        train(collection, rank, num_ranks, seed=num_ranks)
        checkpoint_folder.write(
            folder / f"{sharding}-{optimizer}-{num_ranks}.ckpt", {"state_dict": collection.state_dict()}
        )
        found[f"{sharding}-{optimizer}"] = rows_of(collection)
        found[f"{sharding}-{optimizer}-places"] = [place.describe() for place in collection.lookup.placements.values()]
    if rank == 0:
        torch.save(found, folder / f"{num_ranks}.pt")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    # Two hosts of two processes each, as far as torchrec can tell.
    os.environ["LOCAL_WORLD_SIZE"] = "2"
    dist.init_process_group("gloo")
    main(Path(sys.argv[1]))
    dist.barrier()
    # gloo's threads now and then abort a process that leaves in the ordinary way, after all is done.
    os._exit(0)
