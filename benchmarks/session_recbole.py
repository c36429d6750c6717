"""SASRec with full cross-entropy in RecBole and here: targets per second on the same data, sizes and threads.

    python -m pip install --no-deps recbole colorlog colorama thop texttable tabulate plotly
    python benchmarks/session_recbole.py --data data/beauty --threads 2
    python benchmarks/session_recbole.py --data data/ml-1m-sessions --max-length 200 --blocks 2 --threads 2

RecBole makes one row of every prefix of a session and trains on its last position; NextItemTask trains on all positions
of a session at once. All take whole steps, of as many targets in the mean: batch, loss, backward pass, Adam. Rounds of
equal time are in turns, medians are printed. The contender with sampled negatives is another loss;
docs/reproduction-sessions.md has its quality.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

from recsys.data import SessionDataModule
from recsys.losses import FullCrossEntropy, Loss, SampledSoftmax, UniformSampler
from recsys.models import SASRec
from recsys.tasks import NextItemTask

NAME, DIM, DROPOUT = "sessions", 64, 0.2


def write_interactions(data: SessionDataModule, folder: Path) -> None:
    """RecBole's atomic file of the training events."""
    sequences = data.sequences("train")
    (folder / NAME).mkdir()
    with (folder / NAME / f"{NAME}.inter").open("w") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for user in range(len(sequences)):
            stop = int(sequences.offsets[user + 1])
            for time, item in enumerate(sequences.items[int(sequences.offsets[user]) : stop]):
                file.write(f"{user}\t{item}\t{time}\n")


def recbole_steps(folder: Path, max_length: int, num_blocks: int, num_targets: int) -> Iterator[int]:
    """Train on, and tell the targets of each step."""
    # RecBole 1.2.1 asks for names that NumPy 2 has dropped.
    for name, kind in (("float_", np.float64), ("complex_", np.complex128), ("unicode_", np.str_)):
        setattr(np, name, kind)
    from recbole.config import Config
    from recbole.data import create_dataset
    from recbole.data.dataloader import TrainDataLoader
    from recbole.model.sequential_recommender import SASRec as RecBoleSASRec

    settings = {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "use_gpu": False,
        "train_neg_sample_args": None,
        "train_batch_size": num_targets,
        "loss_type": "CE",
        "hidden_size": DIM,
        "inner_size": DIM,
        "n_layers": num_blocks,
        "n_heads": 1,
        "hidden_dropout_prob": DROPOUT,
        "attn_dropout_prob": DROPOUT,
        "MAX_ITEM_LIST_LENGTH": max_length,
        "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "TO", "group_by": None, "mode": "full"},
    }
    config = Config(model="SASRec", dataset=NAME, config_dict=settings)
    train = create_dataset(config).build()[0]
    model = RecBoleSASRec(config, train)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    while True:
        for batch in TrainDataLoader(config, train, None, shuffle=True):
            optimizer.zero_grad()
            model.calculate_loss(batch).backward()
            optimizer.step()
            yield len(batch)


def sequences_with(num_targets: int, data: SessionDataModule) -> int:
    """How many training sequences have so many targets in the mean."""
    lengths = np.minimum(data.sequences("train").lengths - 1, data.max_length)
    return max(1, round(num_targets / lengths[lengths > 0].mean()))


def own_steps(data: SessionDataModule, num_blocks: int, loss: Loss) -> Iterator[int]:
    """Train on, and tell the targets of each step."""
    model = lambda *sizes: SASRec(*sizes, num_blocks=num_blocks, num_heads=1, dropout=DROPOUT)  # noqa: E731
    task = NextItemTask(model, data.schema, DIM, data.max_length, loss=loss)
    task.configure_model()
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    optimizer = task.configure_optimizers()
    loader: Any = data.train_dataloader()
    while True:
        for batch in loader:
            optimizer.zero_grad()
            task.training_step(batch, 0).backward()
            optimizer.step()
            yield int((batch.lengths - 1).sum())


def rate(steps: Iterator[int], seconds: float) -> float:
    """Targets a second, over whole steps that take at least so long."""
    begin, num_targets = perf_counter(), 0
    while (taken := perf_counter() - begin) < seconds:
        num_targets += next(steps)
    return num_targets / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder written by data_scripts/sessions.py")
    parser.add_argument("--max-length", type=int, default=50)
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="that a round of one contender takes, or more")
    parser.add_argument("--targets", type=int, default=2048, help="of a step; 2,048 is RecBole's default")
    parser.add_argument("--negatives", type=int, default=2048)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    data = SessionDataModule(settings.data, max_length=settings.max_length)
    data.setup("fit")
    data.batch_size = sequences_with(settings.targets, data)
    with tempfile.TemporaryDirectory() as folder:
        write_interactions(data, Path(folder))
        sampled = SampledSoftmax(UniformSampler(settings.negatives))
        contenders = {
            "RecBole": recbole_steps(Path(folder), settings.max_length, settings.blocks, settings.targets),
            "recsys": own_steps(data, settings.blocks, FullCrossEntropy()),
            f"recsys, {settings.negatives:,} negatives": own_steps(data, settings.blocks, sampled),
        }
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        for round_number in range(settings.rounds + 1):
            for name, steps in contenders.items():
                found = rate(steps, settings.seconds)
                if round_number:
                    rates[name].append(found)
    for name, found_rates in rates.items():
        ratios = [own / other for own, other in zip(found_rates, rates["RecBole"], strict=True)]
        print(
            f"{name}: {median(found_rates):,.0f} targets/s ({min(found_rates):,.0f} to {max(found_rates):,.0f}), "
            f"{median(ratios):.1f} times RecBole's ({min(ratios):.1f} to {max(ratios):.1f})"
        )


if __name__ == "__main__":
    main()
