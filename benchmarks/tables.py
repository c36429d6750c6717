"""What a training step takes with each table method beside FullTable, and with growing vocabularies.

    python benchmarks/tables.py methods [--only TTTable MLETTable] [--model DeepFM] [--store docs/method_steps.json]
    python benchmarks/tables.py vocabularies [--rounds 5]

`methods` swaps the table of every column, at the same output width, and prints processor time of one thread, of the
tables alone and of whole steps of a model, with the ratio to FullTable, whose steps alternate with the method's.
`vocabularies` keeps FullTable and gives each of the five largest columns 100 thousand, 1 million and 10 million rows:
seconds of a step of DLRM, batch 4096, under Lightning, in turns, and the ratio to the first.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median

import generated
import machine
import torch
from method_steps import MODELS, TableFactory, measure

from recsys.tables import (
    AdaptiveTable,
    ALPTTable,
    AutoSrhTable,
    CAFETable,
    CCETable,
    DeepHashTable,
    DeepLightTable,
    DoubleHashTable,
    DPQTable,
    FullTable,
    GradualPruningTable,
    HashEmbeddingTable,
    HashTable,
    ManagedCollisionTable,
    MGQETable,
    MixedDimTable,
    MLETTable,
    MurmurTable,
    OptEmbedTable,
    PathQRTable,
    PEPTable,
    PrunedTable,
    QRConcatTable,
    QRSumTable,
    QRTable,
    RobeTable,
    TTTable,
    UnifiedTable,
)


def methods() -> dict[str, TableFactory]:
    """Every method that trains on ids alone, at a fifth of the bytes where it has a size."""
    return {
        "FullTable": FullTable,
        "AdaptiveTable": partial(AdaptiveTable, budget_fraction=0.2),
        "ALPTTable": ALPTTable,
        "AutoSrhTable": AutoSrhTable,
        "CAFETable": lambda name, v, d: CAFETable(name, v, d, num_rows=2 + v // 5),
        "CCETable": lambda name, v, d: CCETable(name, v, d, num_clusters=1 + v // 20, num_chunks=2),
        "DeepHashTable": partial(DeepHashTable, hidden_dim=64),
        "DeepLightTable": DeepLightTable,
        "DoubleHashTable": lambda name, v, d: DoubleHashTable(name, v, d, num_rows=2 + v // 5),
        "DPQTable": DPQTable,
        "GradualPruningTable": GradualPruningTable,
        "HashEmbeddingTable": partial(HashEmbeddingTable, budget_fraction=0.2),
        "HashTable": partial(HashTable, budget_fraction=0.2),
        "ManagedCollisionTable": lambda name, v, d: ManagedCollisionTable(name, v, d, num_rows=2 + v // 5),
        "MGQETable": MGQETable,
        "MixedDimTable": partial(MixedDimTable, alpha=0.3),
        "MLETTable": MLETTable,
        "MurmurTable": partial(MurmurTable, budget_fraction=0.2),
        "OptEmbedTable": OptEmbedTable,
        "PathQRTable": lambda name, v, d: PathQRTable(name, v, d, num_rows=1 + v // 8),
        "PathQRTable, 40 %": lambda name, v, d: PathQRTable(name, v, d, **_bought(v, 0.4, 3000, num_rows=v)),
        "PEPTable": PEPTable,
        "PrunedTable": partial(PrunedTable, budget_fraction=0.2),
        "QRConcatTable": QRConcatTable,
        "QRSumTable": QRSumTable,
        "QRTable": QRTable,
        "RobeTable": partial(RobeTable, num_rows=50_000, num_chunks=2),
        "RobeTable, aligned": partial(RobeTable, num_rows=50_000, num_chunks=2, aligned=True),
        "TTTable": partial(TTTable, rank=8),
        "TTTable, 20 %": lambda name, v, d: TTTable(name, v, d, **_bought(v, 0.2, 3000, rank=4)),
        "UnifiedTable": partial(UnifiedTable, num_rows=50_000, num_lookups=2),
    }


def _bought(num_embeddings: int, fraction: float, fewest: int, **size: int) -> dict[str, float]:
    """A fraction of the full table's bytes, or for small columns, which have less than a method's floor, a size."""
    return dict(size) if num_embeddings < fewest else {"budget_fraction": fraction}


def methods_job(arguments: argparse.Namespace) -> None:
    """Print each method's times as they come, and store them."""
    chosen = {name: table for name, table in methods().items() if not arguments.only or name in arguments.only}
    sizes = generated.geometric_rows(100_000)
    print(f"{arguments.model}, 26 columns of 10 to 100,000 ids x 16, batch {arguments.batch_size}, NumbaLookup,")
    print(f"processor time of a step, median of {arguments.rounds} rounds of {arguments.steps}")
    print(f"{'':<24}{'tables alone':>16}{'x FullTable':>13}{'whole step':>16}{'x FullTable':>13}")
    found = []
    for each in measure(chosen, sizes, arguments.model, arguments.batch_size, arguments.rounds, arguments.steps):
        found.append(each)
        alone = f"{each.tables_ms:>13.1f} ms{each.tables_ratio:>13.2f}"
        print(f"{each.method:<24}{alone}{each.step_ms:>13.1f} ms{each.step_ratio:>13.2f}", flush=True)
    if arguments.store is not None:
        known = json.loads(arguments.store.read_text())["methods"] if arguments.store.is_file() else {}
        setting = {"model": arguments.model, "batch_size": arguments.batch_size, "machine": machine.line()}
        known |= {each.method: asdict(each) | setting for each in found}
        stored = {"command": "python benchmarks/tables.py methods", "methods": dict(sorted(known.items()))}
        arguments.store.write_text(json.dumps(stored, indent=1) + "\n")


def vocabularies_job(arguments: argparse.Namespace) -> None:
    """Print the seconds of a step at three sizes of the large columns."""
    from contenders import BATCH, dlrm, lightning_fit

    contenders = {f"{rows:,} rows": generated.large_columns(rows) for rows in (10**5, 10**6, 10**7)}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(arguments.rounds):
        for name, sizes in contenders.items():
            folder = Path(tempfile.gettempdir()) / f"recsys-speed-{sum(sizes)}-500000"
            generated.write(folder, sizes, 500_000)
            rate, _ = lightning_fit(folder, dlrm, arguments.steps)
            seconds[name].append(BATCH / rate)
    print(f"DLRM, batch {BATCH}, {torch.get_num_threads()} threads, median of {arguments.rounds} rounds")
    first = next(iter(contenders))
    for name, values in seconds.items():
        ratios = [value / base for value, base in zip(values, seconds[first], strict=True)]
        print(f"{name:<20}{1000 * median(values):>8.1f} ms a step{median(ratios):>8.2f} times {first}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["methods", "vocabularies"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="steps per round; 3 of methods, 40 of vocabularies")
    parser.add_argument("--threads", type=int, help="1 of methods, 2 of vocabularies")
    parser.add_argument("--model", choices=sorted(MODELS), default="DeepFM", help="of methods")
    parser.add_argument("--batch_size", type=int, default=2048, help="of methods")
    parser.add_argument("--only", nargs="+", choices=sorted(methods()), metavar="METHOD", help="of methods")
    parser.add_argument("--store", type=Path, help="JSON file that keeps the times of methods, others' in it too")
    arguments = parser.parse_args()
    is_methods = arguments.job == "methods"
    arguments.steps = arguments.steps or (3 if is_methods else 40)
    torch.set_num_threads(arguments.threads or (1 if is_methods else 2))
    print(machine.line())
    (methods_job if is_methods else vocabularies_job)(arguments)


if __name__ == "__main__":
    main()
