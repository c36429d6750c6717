"""`recsys compress`: tables made to fit a budget of bytes.

A checkpoint, without training:
recsys compress last.ckpt small -c configs/criteo.yaml --budget_fraction 10%
recsys compress last.ckpt small -c configs/criteo.yaml --budget_bytes 2MB --method int8
recsys compress last.ckpt small -c configs/criteo.yaml --sweep 50% 10% 1%

A config of searching tables, in stages; run again, it goes on where it stopped:
recsys compress small -c configs/criteo.yaml -c configs/tables/optembed.yaml --budget_fraction 10%
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from recsys.commands.describe import load_collection, read_checkpoint
from recsys.compression.begun import claim_folder
from recsys.compression.counts import counts_of
from recsys.compression.evolution import Evolution
from recsys.compression.methods import METHODS
from recsys.compression.one_shot import CHECKPOINT, CONFIG, OneShot
from recsys.compression.quality import SHOWN
from recsys.compression.selection import WIDTH_STEP
from recsys.compression.stage_report import write_stage_report
from recsys.compression.stages import STAGES, Stages, Start
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.configuration.suggestions import explain
from recsys.configuration.words import divided
from recsys.data.counts import require_folder
from recsys.prepare.files.command_parser import SEED, CommandParser
from recsys.tables.budget import bytes_of_fraction, parse_bytes, parse_fraction
from recsys.tables.compact import RowPrecision

AUTO = "auto"


def main(arguments: Sequence[str]) -> int:
    """Compress, print and write; returns the exit code.

    Raises:
        ValueError: on a checkpoint, config or budget that cannot be used, before work begins.
    """
    own, others = divided(arguments, parser())
    chosen = parser().parse_args(own)
    check(chosen)
    command = [word for config in chosen.config for word in ("-c", config)] + others
    if len(chosen.paths) == 1:
        _in_stages(chosen, command)
    else:
        _at_once(chosen, command)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = CommandParser(prog="recsys compress", description="Tables made to fit a budget of bytes.")
    found.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="[CKPT] OUT",
        help=f"checkpoint of lightning fit, and a folder for {CHECKPOINT}, {CONFIG} and the report; a folder alone "
        "compresses in stages what the config's tables search for",
    )
    found.add_argument("-c", "--config", action="append", default=[], help="config, once or more")
    found.add_argument("--budget_bytes", help="what all tables may take together, such as 2MB")
    found.add_argument("--budget_fraction", help="the same as a fraction of the full tables' bytes, such as 10%%")
    found.add_argument("--method", default=AUTO, help=f"{', '.join(METHODS)}, or {AUTO}: what surely loses least")
    found.add_argument("--metric", choices=SHOWN, help="by which auto chooses (auc; of session models ndcg@10)")
    found.add_argument("--sweep", nargs="+", default=[], metavar="FRACTION", help="also measure at these fractions")
    found.add_argument("--finetune", type=int, default=0, metavar="EPOCHS", help="train what was chosen for so long")
    found.add_argument("--stage", choices=STAGES, help="this stage alone")
    found.add_argument("--generations", type=int, default=30, help="of the search for widths, in stages (30)")
    found.add_argument(
        "--start", default="initial", choices=get_args(Start), help="values that training again begins with, in stages"
    )
    found.add_argument(
        "--width_step", type=int, default=WIDTH_STEP, help=f"columns by which searched widths differ ({WIDTH_STEP})"
    )
    found.add_argument(
        "--row_precision",
        default="float32",
        choices=get_args(RowPrecision),
        help="that the rows which are kept are served in, in stages (float32)",
    )
    found.add_argument("--counts", type=Path, help="folder of counts (default: counts/ of the data)")
    found.add_argument("--seed", type=SEED, default=0, help="of what is sampled")
    return found


def check(chosen: argparse.Namespace) -> None:
    """Refuse words that do not fit together, before anything is read.

    Raises:
        ValueError: naming the option.
    """
    in_stages = len(chosen.paths) == 1
    if in_stages and chosen.paths[0].is_file():
        raise ValueError(f"'{chosen.paths[0]}' is a file; give CKPT and OUT to compress it, or a folder alone.")
    if len(chosen.paths) > 2:
        raise ValueError(f"give [CKPT] OUT, got {' '.join(map(str, chosen.paths))}.")
    if chosen.budget_bytes is not None and chosen.budget_fraction is not None:
        raise ValueError("give --budget_bytes or --budget_fraction, not both.")
    if chosen.budget_bytes is None and chosen.budget_fraction is None and (in_stages or not chosen.sweep):
        raise ValueError("give --budget_bytes or --budget_fraction, such as 10%.")
    if chosen.method not in (AUTO, *METHODS):
        raise ValueError(explain(f"--method: there is no '{chosen.method}'", chosen.method, [AUTO, *METHODS]))
    _ = chosen.budget_bytes is None or parse_bytes(chosen.budget_bytes)
    _ = chosen.budget_fraction is None or parse_fraction(chosen.budget_fraction)
    for fraction in chosen.sweep:
        parse_fraction(fraction, "--sweep")
    require_folder(chosen.counts)
    if chosen.finetune < 0 or (chosen.finetune and chosen.budget_bytes is None and chosen.budget_fraction is None):
        raise ValueError(f"--finetune must be at least 0 and needs a budget, got {chosen.finetune}.")
    if chosen.metric is not None and chosen.method != AUTO and not chosen.finetune:
        raise ValueError(
            f"--metric {chosen.metric} is what --method {AUTO} and --finetune choose by; leave it out with --method "
            f"{chosen.method}."
        )
    if in_stages:
        _refuse(chosen, "of a checkpoint, give CKPT OUT", method=AUTO, metric=None, sweep=[], finetune=0)
        return
    _refuse(
        chosen,
        "in stages, give OUT alone",
        stage=None,
        generations=30,
        start="initial",
        width_step=WIDTH_STEP,
        row_precision="float32",
    )
    out = chosen.paths[1]
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out '{out}' exists and is no empty folder; give another or remove it.")


def _refuse(chosen: argparse.Namespace, when: str, **defaults: object) -> None:
    for name, value in defaults.items():
        if getattr(chosen, name) != value:
            raise ValueError(f"--{name} is for compression {when}.")


def _at_once(chosen: argparse.Namespace, command: Sequence[str]) -> None:
    checkpoint, out = chosen.paths
    content = read_checkpoint(checkpoint)
    cli = RecsysCLI.launch(command, run=False)
    load_collection(cli.model, content, checkpoint)
    work = OneShot(f"{checkpoint}, compressed", cli, content, chosen.counts, chosen.seed)
    budget_bytes = None
    if chosen.budget_bytes is not None:
        budget_bytes = parse_bytes(chosen.budget_bytes)
    elif chosen.budget_fraction is not None:
        budget_bytes = bytes_of_fraction(chosen.budget_fraction, work.full_bytes)
    sweep = [bytes_of_fraction(fraction, work.full_bytes) for fraction in chosen.sweep]
    methods = [kind() for name, kind in METHODS.items() if chosen.method in (AUTO, name)]
    work.run(methods, budget_bytes, sweep, chosen.metric, out, chosen.finetune)


def _in_stages(chosen: argparse.Namespace, command: Sequence[str]) -> None:
    out: Path = chosen.paths[0]
    evolution = Evolution(num_iterations=chosen.generations)
    stages = Stages(
        command,
        out,
        chosen.budget_bytes,
        chosen.budget_fraction,
        evolution,
        chosen.seed,
        chosen.start,
        chosen.width_step,
        chosen.row_precision,
    )
    stages.check()
    lock = claim_folder(out)
    stages.run(STAGES if chosen.stage is None else [chosen.stage])
    if chosen.stage in (None, STAGES[-1]):
        cli = RecsysCLI.launch(command, run=False)
        cli.model.configure_model()
        write_stage_report(out, list(command), counts_of(cli.model, cli.datamodule, chosen.counts))
    os.close(lock)
