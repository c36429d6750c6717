"""What sharding sends and takes: the cost model against measured steps, and what it says of 8 and 64 GPUs.

    python benchmarks/sharding.py measure [--processes 1 2 4]
    python benchmarks/sharding.py predict

`measure` trains 8 matrices of 20,000 x 16 for some steps in gloo processes on this machine (four stand for two hosts of
two), counts the bytes on the loopback device, and prints them beside the model's. `predict` applies the model to the
26 matrices of Criteo's 1 TB logs, capped at 40 million rows and 128 wide, as in MLPerf's DLRM-DCNv2, with one id each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import machine
import torch
import torch.distributed as dist

from recsys.human import human_bytes
from recsys.tables import (
    SGD,
    Adagrad,
    Feature,
    FullTable,
    PhysicalTable,
    RowWiseAdagrad,
    Sharding,
    TableCollection,
    TableSharding,
    TorchrecLookup,
)
from recsys.tables.sharded.communication import Network, Traffic, traffic
from recsys.tables.sharded.plan import bytes_on, place_tables

NUM_TABLES, NUM_ROWS, DIM, BATCH, STEPS = 8, 20_000, 16, 1024, 12
KINDS = ("data_parallel", "table_wise", "column_wise", "row_wise", "table_row_wise", "grid_shard")

CRITEO_1TB = [
    *(40_000_000, 39_060, 17_295, 7_424, 20_265, 3, 7_122, 1_543, 63, 40_000_000, 3_067_956, 405_282, 10, 2_209),
    *(11_938, 155, 4, 976, 14, 40_000_000, 40_000_000, 40_000_000, 590_152, 12_973, 108, 36),
]
CRITEO_DIM = 128
GLOBAL_BATCH = 65_536
GPU_BYTES = int(0.9 * 80e9)
NVLINK, INFINIBAND = 450e9, 50e9
"""Bytes a second that a GPU sends within its host, and to others: NVLink 4 and 400 Gb/s for each GPU."""


def measure(num_processes):
    print(machine.line())
    print("| processes | sharding | MB sent a step, model | measured | ratio | ms a step |\n|--:|--|--:|--:|--:|--:|")
    for num_ranks in num_processes:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "LOGLEVEL": "ERROR"}
            subprocess.run([*command, __file__, "worker", folder], env=environment, check=True)
            for kind, modelled, measured, seconds in json.loads((Path(folder) / "found.json").read_text()):
                ratio = f"{measured / modelled:.2f}" if modelled else ""
                print(
                    f"| {num_ranks} | {kind} | {modelled / 1e6:.2f} | {measured / 1e6:.2f} | {ratio} "
                    f"| {1e3 * seconds:.0f} |"
                )


def worker(folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    num_ranks = dist.get_world_size()
    per_host = 2 if num_ranks == 4 else num_ranks
    os.environ["LOCAL_WORLD_SIZE"] = str(per_host)
    kinds = KINDS if num_ranks == 4 else KINDS[: 4 if num_ranks > 1 else 2]
    found = [one_kind(kind, num_ranks, per_host) for kind in kinds]
    if dist.get_rank() == 0:
        Path(folder, "found.json").write_text(json.dumps(found))
    dist.barrier()
    os._exit(0)


def one_kind(kind, num_ranks, per_host):
    """Name, modelled and measured bytes of all processes in a step, and its median seconds."""
    tables = {f"t{i}": FullTable(f"t{i}", NUM_ROWS, DIM) for i in range(NUM_TABLES)}
    optimizer = Adagrad(0.05) if kind in ("column_wise", "grid_shard") else RowWiseAdagrad(0.05)
    sharding = Sharding({"*": TableSharding(kind)}, ranks_per_host=per_host)
    collection = TableCollection(
        [Feature(name, name) for name in tables],
        tables,
        optimizer=optimizer,
        lookup=partial(TorchrecLookup, sharding=sharding),
    )
    lookup, network = collection.lookup, Network(num_ranks, per_host)
    modelled = sum(traffic(lookup.tables[t], optimizer, lookup.placements[t], BATCH, network).total for t in tables)
    generator = torch.Generator().manual_seed(dist.get_rank())
    sent, seconds = [], []
    for _ in range(STEPS):
        ids = torch.randint(0, NUM_ROWS, (NUM_TABLES, BATCH), generator=generator)
        dist.barrier()
        before, start = loopback_bytes(), perf_counter()
        collection(ids).square().mean().backward()
        collection.step()
        seconds.append(perf_counter() - start)
        dist.barrier()
        sent.append(loopback_bytes() - before)
    return kind, num_ranks * modelled, median(sent[2:]), median(seconds[2:])


def loopback_bytes():
    """Bytes that this machine has sent to itself."""
    (line,) = (line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    return int(line.split()[9])


def predict():
    tables = [PhysicalTable(f"C{i + 1}", rows, CRITEO_DIM, 0.01) for i, rows in enumerate(CRITEO_1TB)]
    total = sum(table.num_rows for table in tables)
    print(f"{total:,} rows, {human_bytes(4 * total * CRITEO_DIM)}; global batch {GLOBAL_BATCH:,}\n")
    print("| GPUs | plan | GB on a GPU, most / least | MB sent a step by a GPU, in its host | to others | ms |")
    print("|--:|--|--:|--:|--:|--:|")
    for num_ranks in (8, 64):
        for name, optimizer, wishes in plans(num_ranks):
            print(line_of(name, tables, optimizer, num_ranks, wishes))


def plans(num_ranks):
    """Name, optimizer and constraints."""
    yield "default", RowWiseAdagrad(), {}
    yield "large tables row_wise", RowWiseAdagrad(), large("row_wise")
    if num_ranks > 8:
        yield "large tables table_row_wise", RowWiseAdagrad(), large("table_row_wise")
    yield "large tables column_wise, SGD", SGD(), large("column_wise")


def large(kind):
    return {f"C{i + 1}": TableSharding(kind) for i, rows in enumerate(CRITEO_1TB) if rows == max(CRITEO_1TB)}


def line_of(name, tables, optimizer, num_ranks, wishes):
    optimizers = {table.name: optimizer for table in tables}
    sharding = Sharding(wishes, ranks_per_host=8, memory_bytes=GPU_BYTES)
    placements = place_tables(tables, optimizers, num_ranks, sharding)
    network = Network(num_ranks, 8)
    held = [sum(bytes_on(t, optimizer, placements[t.name], rank) for t in tables) for rank in range(num_ranks)]
    sent = sum(
        (traffic(t, optimizer, placements[t.name], GLOBAL_BATCH // num_ranks, network) for t in tables), Traffic()
    )
    seconds = sent.within / NVLINK + sent.between / INFINIBAND
    return (
        f"| {num_ranks} | {name} | {max(held) / 1e9:.1f} / {min(held) / 1e9:.1f} | {sent.within / 1e6:.0f} "
        f"| {sent.between / 1e6:.0f} | {1e3 * seconds:.2f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("measure").add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    commands.add_parser("predict")
    commands.add_parser("worker").add_argument("folder")
    given = parser.parse_args()
    if given.command == "measure":
        measure(given.processes)
    elif given.command == "worker":
        worker(given.folder)
    else:
        predict()


if __name__ == "__main__":
    main()
