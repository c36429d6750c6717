"""`recsys compress`: trained tables made to fit a budget of bytes.

recsys compress last.ckpt small -c configs/criteo.yaml --budget_fraction 10%
recsys compress last.ckpt small -c configs/criteo.yaml --budget_bytes 2MB --method int8
recsys compress last.ckpt small -c configs/criteo.yaml --sweep 50% 10% 1%
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from recsys.commands.describe import load_collection, read_checkpoint
from recsys.compression.config_file import write_config
from recsys.compression.methods import METHODS
from recsys.compression.model import TrainedModel, checkpoint_of, save
from recsys.compression.report import CompressionReport
from recsys.compression.trials import METRICS, Trial, Trials, best
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.configuration.suggestions import explain
from recsys.data.counts import read_counts
from recsys.tables.budget import parse_bytes, parse_fraction
from recsys.tables.sizing import stored_bytes

AUTO = "auto"
CHECKPOINT, CONFIG = "model.ckpt", "config.yaml"


def main(arguments: Sequence[str]) -> int:
    """Compress, print and write; returns the exit code.

    Raises:
        ValueError: on a checkpoint, config or budget that cannot be used, before work begins.
    """
    chosen, others = parser().parse_known_args(list(arguments))
    check(chosen)
    command = [word for config in chosen.config for word in ("-c", config)] + others
    return OneShot(chosen, command).run()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        prog="recsys compress", description="Trained tables made to fit a budget of bytes.", allow_abbrev=False
    )
    found.add_argument("checkpoint", type=Path, help="checkpoint of lightning fit")
    found.add_argument("out", type=Path, help=f"folder for {CHECKPOINT}, {CONFIG} and the report")
    found.add_argument("-c", "--config", action="append", default=[], help="config of the checkpoint, once or more")
    found.add_argument("--budget_bytes", help="what all tables may take together, such as 2MB")
    found.add_argument("--budget_fraction", help="the same as a fraction of the full tables' bytes, such as 10%%")
    found.add_argument("--method", default=AUTO, help=f"{', '.join(METHODS)}, or {AUTO}: the one that validates best")
    found.add_argument("--metric", default=METRICS[0], choices=METRICS, help="by which auto chooses")
    found.add_argument("--sweep", nargs="+", default=[], metavar="FRACTION", help="also measure at these fractions")
    found.add_argument("--counts", type=Path, help="folder of counts (default: counts/ of the data)")
    found.add_argument("--seed", type=int, default=0, help="of what is sampled")
    return found


def check(chosen: argparse.Namespace) -> None:
    """Refuse words that do not fit together, before anything is read.

    Raises:
        ValueError: naming the option.
    """
    if chosen.budget_bytes is not None and chosen.budget_fraction is not None:
        raise ValueError("give --budget_bytes or --budget_fraction, not both.")
    if chosen.budget_bytes is None and chosen.budget_fraction is None and not chosen.sweep:
        raise ValueError("give --budget_bytes or --budget_fraction, such as 10%, or a --sweep of fractions.")
    if chosen.method not in (AUTO, *METHODS):
        raise ValueError(explain(f"--method: there is no '{chosen.method}'", chosen.method, [AUTO, *METHODS]))
    _ = chosen.budget_bytes is None or parse_bytes(chosen.budget_bytes)
    for fraction in [*chosen.sweep, *([chosen.budget_fraction] if chosen.budget_fraction is not None else [])]:
        parse_fraction(fraction)
    if chosen.out.exists() and (not chosen.out.is_dir() or any(chosen.out.iterdir())):
        raise ValueError(f"out '{chosen.out}' exists and is no empty folder; give another or remove it.")


class OneShot:
    """Compression of a checkpoint without training.

    Args:
        chosen: our own arguments.
        command: what follows for Lightning: -c CONFIG and overrides.
    """

    def __init__(self, chosen: argparse.Namespace, command: Sequence[str]) -> None:
        self._chosen = chosen
        self._content = read_checkpoint(chosen.checkpoint)
        self._cli = RecsysCLI.launch(command, run=False)
        task, data = self._cli.model, self._cli.datamodule
        collection = load_collection(task, self._content, chosen.checkpoint)
        counts_folder = chosen.counts or Path(data.schema.path) / "counts"
        names = dict.fromkeys(feature.table for feature in collection.features)
        counts = {name: read_counts(counts_folder, name, collection.table(name).num_embeddings) for name in names}
        self._model = TrainedModel(
            task,
            data,
            {name: None if found is None else torch.from_numpy(found) for name, found in counts.items()},
            chosen.seed,
            bf16=str(self._cli.trainer.precision).startswith("bf16"),
        )
        self._trained_bytes = stored_bytes({name: collection.table(name) for name in names})

    def run(self) -> int:
        """Try, choose, write; returns the exit code."""
        chosen = self._chosen
        methods = [kind() for name, kind in METHODS.items() if chosen.method in (AUTO, name)]
        tables = self._model.tables(any(method.needs_column_values for method in methods))
        runner = Trials(self._model)
        trials: list[Trial] = []
        notes: list[str] = []
        winner: Trial | None = None
        for is_asked, budget_bytes in self._budgets():
            here: list[Trial] = []
            for found in runner.run(methods, tables, budget_bytes):
                if isinstance(found, Trial):
                    here.append(found)
                    print(f"{found.method}: {found.num_bytes:,} bytes, val AUC {found.val['auc'].second:.5f}")
                elif chosen.method != AUTO and is_asked:
                    raise found
                else:
                    notes.append(str(found))
            if is_asked:
                if not here:
                    raise ValueError(f"no method can meet the budget of {budget_bytes} bytes: {' '.join(notes)}")
                winner = best(here, chosen.metric)
            trials += here
        place = None if winner is None else trials.index(winner)
        title = f"{chosen.checkpoint}, compressed"
        report = CompressionReport(title, self._model.full_bytes, self._trained_bytes, trials, place, notes)
        chosen.out.mkdir(parents=True, exist_ok=True)
        if winner is not None:
            self._write(winner)
        report.write(chosen.out)
        report.print()
        print(f"report: {chosen.out / 'report.html'}")
        return 0

    def _budgets(self) -> list[tuple[bool, int]]:
        """Whether a checkpoint is asked for, and bytes."""
        chosen, full = self._chosen, self._model.full_bytes
        found = [(False, int(parse_fraction(fraction) * full)) for fraction in chosen.sweep]
        if chosen.budget_bytes is not None:
            found.append((True, parse_bytes(chosen.budget_bytes)))
        elif chosen.budget_fraction is not None:
            found.append((True, int(parse_fraction(chosen.budget_fraction) * full)))
        return found

    def _write(self, winner: Trial) -> None:
        out: Path = self._chosen.out
        self._model.use(winner.compressed)
        save(out / CHECKPOINT, checkpoint_of(self._model.task, self._content))
        write_config(self._cli, out / CHECKPOINT, out / CONFIG)
        print(
            f"{winner.method}: {winner.num_bytes:,} bytes of tables; lightning test -c {out / CONFIG} "
            f"--ckpt_path {out / CHECKPOINT}"
        )
