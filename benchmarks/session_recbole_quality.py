"""RecBole's SASRec, trained to its best epoch on the validation split and tested there with this project's metrics.

    python -m pip install --no-deps recbole colorlog colorama thop texttable tabulate plotly
    python benchmarks/session_recbole_quality.py --data data/beauty --seed 0

The other half of session_recbole.py: how good the model is whose speed that one measures. Full ranking, ties counted
against the model, items of the history not recommended, as for every model of docs/reproduction-sessions.md.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from pathlib import Path
from time import perf_counter

import torch
from lightning.pytorch import seed_everything
from recbole_sasrec import RecBoleSASRec

from recsys.baselines import baseline_metrics
from recsys.data import SessionDataModule


def train_to_best(model: RecBoleSASRec, data: SessionDataModule, max_epochs: int, patience: int) -> None:
    """Until validation's NDCG@10 has not risen for `patience` epochs; the best epoch's weights are kept."""
    best, best_epoch, weights = -1.0, -1, {}
    for epoch in range(max_epochs):
        begin = perf_counter()
        num_targets = sum(model.epoch())
        seconds = perf_counter() - begin
        quality = baseline_metrics(data, "val", (model,))[model.name]["ndcg@10"]
        print(f"epoch {epoch}: val ndcg@10 {quality:.4f}, {num_targets / seconds:,.0f} targets/s", flush=True)
        if quality > best:
            best, best_epoch, weights = quality, epoch, copy.deepcopy(model.model.state_dict())
        elif epoch - best_epoch >= patience:
            break
    model.model.load_state_dict(weights)
    print(f"epoch {best_epoch} is the best")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder written by data_scripts/sessions.py")
    parser.add_argument("--max-length", type=int, default=50)
    parser.add_argument("--embedding-dim", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.5, help="0.5 is RecBole's default")
    parser.add_argument("--targets", type=int, default=2048, help="of a step; 2,048 is RecBole's default")
    parser.add_argument("--learning-rate", type=float, default=0.001, help="0.001 is RecBole's default")
    parser.add_argument("--max-epochs", type=int, default=30)
    parser.add_argument("--patience", type=int, default=3, help="epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parsed = parser.parse_args()
    torch.set_num_threads(parsed.threads)
    data = SessionDataModule(parsed.data, max_length=parsed.max_length)
    data.setup("fit")
    seed_everything(parsed.seed, verbose=False)
    sizes = parsed.embedding_dim, parsed.blocks, parsed.dropout, parsed.targets, parsed.learning_rate
    with tempfile.TemporaryDirectory() as folder:
        model = RecBoleSASRec(data, Path(folder), *sizes)
        train_to_best(model, data, parsed.max_epochs, parsed.patience)
    for name, value in baseline_metrics(data, "test", (model,))[model.name].items():
        print(f"  {name:24} {value:.4f}")


if __name__ == "__main__":
    main()
