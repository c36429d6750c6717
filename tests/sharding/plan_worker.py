"""One of two processes that plan with different memory; leaves each plan, or what was refused."""

import json
import os
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

from recsys.tables import Adagrad, PhysicalTable, Sharding, TableSharding
from recsys.tables.sharded.planner import plan_tables

MEGABYTES = ((4, 8), (8, 4), (None, 4))
"""What the two processes are given."""

TABLES = [PhysicalTable("large", 40_000, 16, 0.1), PhysicalTable("small", 8_000, 16, 0.1)]
BY_COLUMNS = Sharding({"*": TableSharding("column_wise")}, planner=True)
CASES = {
    "own": Sharding(replicate_rows=0, ranks_per_host=1),
    "planner": Sharding(planner=True),
    "columns": BY_COLUMNS,
    "own, too large": Sharding({"large": TableSharding("table_wise")}),
    "planner, too large": Sharding({"large": TableSharding("table_wise")}, planner=True),
    "misspelt": Sharding({"larg": TableSharding("table_wise")}),
    "broken": Sharding(),
}


def plan(sharding, megabytes, optimizers):
    mine = megabytes[dist.get_rank()]
    limited = Sharding(**{**vars(sharding), "memory_bytes": mine and mine * 10**6})
    try:
        found = plan_tables(TABLES, {"large": 1, "small": 1}, optimizers, limited, torch.device("cpu"))
    except (ValueError, RuntimeError, KeyError) as error:
        return str(error)
    return {name: [placement.sharding_type, repr(placement.shards)] for name, placement in found.items()}


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    dist.init_process_group("gloo")
    optimizers = {table.name: Adagrad() for table in TABLES}
    plans = {
        name: [plan(sharding, megabytes, {} if name == "broken" else optimizers) for megabytes in MEGABYTES]
        for name, sharding in CASES.items()
    }
    Path(sys.argv[1], f"{dist.get_rank()}.json").write_text(json.dumps(plans))
    dist.barrier()
    os._exit(0)
