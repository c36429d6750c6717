"""Contenders of a comparison, paired with the last of them, by how often the item of a test row is in training.

    python benchmarks/item_slices.py configs/compare/semantic_ids.yaml --data data/ml-1m-time --store runs \
        --contenders "semantic id, prefixes 1/4" "id, hashed 1/4"

Runs are those of `recsys compare run`, in the same store, and count as done there; what a run predicts for the test
split is kept in its folder. Runs that have both are not repeated. Standard errors are DeLong's for paired scores, with
items as what was drawn: all rows of an item share the error that a table makes of it.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from recsys.comparison.reading import read_comparison
from recsys.comparison.spec import Comparison, Run
from recsys.comparison.store import RunStore, write_whole
from recsys.evaluation import compare_auc
from recsys.evaluation.slices import by_frequency


def train_and_predict(run: Run, folder: Path) -> None:
    """What the comparison's worker does, and the test split's predictions before the weights go."""
    import torch

    from recsys.commands.checkpoint_predictions import predict_for
    from recsys.comparison.worker import train

    torch.set_num_threads(1)
    result = train(run, folder)
    (best,) = (path for path in folder.rglob("*.ckpt") if path.name != "last.ckpt")
    configs = [word for path in sorted(folder.glob("config_*.yaml")) for word in ("-c", str(path))]
    made = predict_for(best, [*configs, f"--data.init_args.path={run.data}"], [], folder)
    made.replace(folder / "test.parquet")
    write_whole(folder / "result.json", asdict(result))
    for path in folder.rglob("checkpoints"):
        shutil.rmtree(path, ignore_errors=True)


def predictions(run: Run, store: RunStore) -> Path:
    path = store.path(run) / "test.parquet"
    if store.result(run) is None or not path.exists():
        folder = store.begin(run)
        process = multiprocessing.get_context("spawn").Process(target=train_and_predict, args=(run, folder))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{run.contender}, seed {run.seed}: exit code {process.exitcode}")
    return path


def show(first: Path, second: Path, feature: str, counts: Path, fewest_rows: int) -> None:
    """AUC of both and their paired difference, whole and by slice."""
    one, two = pq.read_table(first), pq.read_table(second)
    if not all(one[name].equals(two[name]) for name in ("label", feature)):
        raise SystemExit(f"{first} and {second} are not of the same rows.")
    ids = one[feature].combine_chunks()
    everything = np.ones(len(ids), dtype=bool)
    for part, flags in {"all": everything, **by_frequency(ids, feature, counts)}.items():
        if flags.sum() < fewest_rows:
            continue
        label, items = (one[name].to_numpy()[flags] for name in ("label", feature))
        scores = (table["logit"].to_numpy()[flags] for table in (two, one))
        found = compare_auc(label, *scores, confidence=math.erf(math.sqrt(0.5)), groups=items)
        error = (found.high - found.low) / 2
        print(f"  {part:8} {len(label):7,} rows  {found.second:.4f}  {found.difference:+.4f} +- {error:.4f}")


def chosen(comparison: Comparison, contender: str, seed: int) -> Run:
    for run in comparison.runs():
        if (run.contender, run.seed) == (contender, seed):
            return run
    names = ", ".join(each.name for each in comparison.contenders)
    raise SystemExit(f"no contender '{contender}' with seed {seed}; contenders: {names}; seeds: {comparison.seeds}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="comparison file of a CTRTask")
    parser.add_argument("--data", type=Path, required=True, help="prepared folder, with counts/FEATURE.parquet")
    parser.add_argument("--store", type=Path, default=Path("runs"))
    parser.add_argument("--contenders", nargs="+", required=True, help="two or more; the last is what the others beat")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--feature", default="item")
    parser.add_argument("--fewest_rows", type=int, default=100, help="smaller slices are left out (100)")
    asked = parser.parse_args()
    comparison, store = read_comparison(asked.file, asked.data), RunStore(asked.store)
    counts = asked.data / "counts" / f"{asked.feature}.parquet"
    for seed in asked.seeds:
        *others, last = (predictions(chosen(comparison, name, seed), store) for name in asked.contenders)
        for name, path in zip(asked.contenders, others, strict=False):
            print(f"{name}, against {asked.contenders[-1]}, seed {seed}")
            show(path, last, asked.feature, counts, asked.fewest_rows)


if __name__ == "__main__":
    main()
