"""Test AUC of shipped configs over seeds, at the epoch that validates best: mean and standard deviation.

    python benchmarks/quality.py criteo --data data/criteo
    python benchmarks/quality.py movielens --data data/ml-1m

Every contender has the same recipe: the config, with the tables or the model swapped and nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import tempfile
import warnings
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
import yaml

from recsys.lightning_cli import RecsysCLI
from recsys.tasks.summary import total_bytes

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
Contenders = dict[str, dict[str, Any]]


def models() -> Contenders:
    """The shipped config with each model, and logistic regression on the same rows and ids with its own settings."""
    hidden = {"hidden_dims": [128, 64], "dropout": 0.1}
    streams = {"stream1_dims": [128, 64], "stream2_dims": [128, 64], "num_heads": 8, "dropout": 0.1}
    arguments = {
        "DeepFM": hidden,
        "DCNv2": hidden,
        "FinalMLP": streams,
        "DLRM": {"bottom_dims": [64], "top_dims": [128, 64], "dropout": 0.1},
        "LogisticRegression": {},
    }
    found = {name: {"model": {"class_path": name, "init_args": init_args}} for name, init_args in arguments.items()}
    weak_decay = {"class_path": "DenseGradient", "init_args": {"learning_rate": 0.004, "weight_decay": 1e-4}}
    found["LogisticRegression"] |= {"embedding_dim": 1, "embedding_dropout": 0.0, "table_optimizer": weak_decay}
    return found


def tables() -> Contenders:
    """FullTable once, and UnifiedTable and per-feature HashTable at three sizes."""
    found: Contenders = {"FullTable": {"tables": {"default": "FullTable"}}}
    # A tenth of the two rows of a tiny feature is less than one row: at the smallest size they stay exact.
    for num_rows, fraction, exact_up_to in ((13_653, 1.0, 0), (6_592, 0.501, 0), (1_318, 0.0979, 30)):
        unified = {"class_path": "UnifiedTable", "init_args": {"num_rows": 2 * num_rows, "num_lookups": 2}}
        hashed = {"class_path": "HashTable", "init_args": {"budget_fraction": fraction}}
        found[f"UnifiedTable {120 * num_rows / 1000:,.0f} kB"] = {"tables": {"default": unified}}
        found[f"HashTable {120 * num_rows / 1000:,.0f} kB"] = {
            "tables": {"default": hashed},
            "exact_up_to": exact_up_to,
        }
    return found


def run(config: Path, data: Path, override: dict[str, Any], seed: int) -> dict[str, float]:
    """Train, and test at the best validation epoch."""
    with tempfile.TemporaryDirectory() as folder:
        swap = Path(folder) / "swap.yaml"
        swap.write_text(yaml.safe_dump({"model": {"init_args": override}}))
        arguments = ["fit", "-c", str(config), "-c", str(swap), "--seed_everything", str(seed)]
        arguments += [f"--data.init_args.path={data}", f"--data.init_args.seed={seed}"]
        arguments += [f"--trainer.default_root_dir={folder}", "--trainer.enable_progress_bar=false"]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            cli = RecsysCLI.launch(arguments)
            trainer, best = cli.trainer, cli.trainer.checkpoint_callback
            validated = float(best.best_model_score)
            (tested,) = trainer.test(
                cli.model, datamodule=cli.datamodule, ckpt_path=best.best_model_path, verbose=False
            )
        _, stored, _ = total_bytes(cli.model.collection)
        area, loss = tested["test/auc"], tested["test/log_loss"]
        return {"val_auc": validated, "test_auc": area, "log_loss": loss, "bytes": stored}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["criteo", "movielens"])
    parser.add_argument("--data", type=Path, required=True, help="prepared folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", help="contenders whose names begin so")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="append a JSON line per run")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(arguments.threads)
    contenders = models() if arguments.job == "criteo" else tables()
    print(f"{'contender':<26}{'bytes':>12}{'test AUC':>20}{'val AUC':>10}{'test log loss':>15}", flush=True)
    for name, override in contenders.items():
        if arguments.only and not name.startswith(tuple(arguments.only)):
            continue
        results = []
        for seed in arguments.seeds:
            results.append(run(CONFIGS / f"{arguments.job}.yaml", arguments.data, override, seed))
            if arguments.out:
                with arguments.out.open("a") as log:
                    log.write(json.dumps({"contender": name, "seed": seed, **results[-1]}) + "\n")
        column = {key: [result[key] for result in results] for key in results[0]}
        spread = stdev(column["test_auc"]) if len(results) > 1 else 0.0
        print(
            f"{name:<26}{int(column['bytes'][0]):>12,}{mean(column['test_auc']):>11.4f} +- {spread:.4f}"
            f"{mean(column['val_auc']):>10.4f}{mean(column['log_loss']):>15.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
