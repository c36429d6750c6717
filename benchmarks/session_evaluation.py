"""Seconds of a whole evaluation: every session of a split ranks the whole catalogue, with all metrics and slices.

    python data_scripts/sessions.py --set s3rec-beauty --raw FOLDER --out data/beauty
    python benchmarks/session_evaluation.py --data data/beauty --threads 2

The model is SASRec as in configs/beauty.yaml, untrained: what it scores does not change how long it takes. The first
round is not counted.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter

import machine
import torch
from lightning.pytorch import Trainer

from recsys.data import SessionDataModule
from recsys.models import SASRec
from recsys.tasks import NextItemTask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder written by data_scripts/sessions.py")
    parser.add_argument("--embedding-dim", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    print(machine.line())
    data = SessionDataModule(settings.data, eval_batch_size=256)
    task = NextItemTask(lambda *sizes: SASRec(*sizes, num_blocks=1), data.schema, settings.embedding_dim)
    quiet = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    trainer = Trainer(accelerator="cpu", **dict.fromkeys(quiet, False))
    seconds = []
    for _ in range(settings.rounds + 1):
        begin = perf_counter()
        trainer.test(task, data, verbose=False)
        seconds.append(perf_counter() - begin)
    info = data.schema.splits["test"]
    print(
        f"{info.num_targets:,} sessions over {data.schema.num_items:,} items, {settings.threads} threads: median "
        f"{median(seconds[1:]):.1f} s of {settings.rounds} rounds ({min(seconds[1:]):.1f} to {max(seconds[1:]):.1f})"
    )


if __name__ == "__main__":
    main()
