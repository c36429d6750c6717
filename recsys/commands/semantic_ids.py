"""`recsys semantic_ids`: codes of items from their content, as data_scripts/semantic_ids.py makes them, and rq-vae.

recsys semantic_ids --items movies.parquet --item item --text title plot --method rq-vae --out codes/ml-1m
recsys semantic_ids report codes/ml-1m --items movies.parquet --item item --name title --out report
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from recsys.prepare.files.column_values import texts_of
from recsys.prepare.files.command_parser import CommandParser
from recsys.prepare.programs.semantic_ids import make, parser, summary
from recsys.prepare.semantic.codes import Codes, read_codes
from recsys.prepare.semantic.content import Matrix, read_items
from recsys.prepare.semantic.making import LOADS, METHODS, QUANTISERS, Quantiser, QuantiserFit
from recsys.prepare.semantic.measures import use_of
from recsys.prepare.semantic.published import Arrays, read_published
from recsys.semantic_ids.report import CodesReport, names_of

RQ_VAE = "rq-vae"


def main(arguments: Sequence[str]) -> int:
    """Make codes, or report on some; returns the exit code.

    Raises:
        ValueError: on arguments or files that do not fit each other.
    """
    if arguments and arguments[0] == "report":
        return _report(arguments[1:])
    whole = parser((*QUANTISERS, RQ_VAE, *METHODS))
    whole.prog = "recsys semantic_ids"
    whole.add_argument("--steps", type=int, help="of training an rq-vae (default 3000)")
    whole.add_argument("--ema", type=float, help="of an rq-vae: codebooks are moving averages with this decay (0.99)")
    parsed = whole.parse_args(list(arguments))
    for option in ("steps", "ema"):
        if getattr(parsed, option) is not None and (parsed.method != RQ_VAE or parsed.extend is not None):
            raise ValueError(f"--{option} does nothing without --method rq-vae; leave it out.")
    if parsed.ema is not None and not 0 <= parsed.ema < 1:
        raise ValueError(f"--ema must be in [0, 1), got {parsed.ema}.")
    if parsed.steps is not None and parsed.steps < 1:
        raise ValueError(f"--steps must be at least 1, got {parsed.steps}.")
    made = make(parsed, {**QUANTISERS, RQ_VAE: _rq_vae(parsed.steps, parsed.ema)}, {**LOADS, RQ_VAE: _load_rq_vae})
    print("\n".join([*summary(made.use), f"fingerprint {made.codes.fingerprint()}, wrote {parsed.out}"]))
    return 0


def _rq_vae(num_steps: int | None, ema_decay: float | None) -> QuantiserFit:
    """Trains an RQ-VAE; torch and Lightning are imported when it is called."""

    def fit(vectors: Matrix, num_levels: int, num_codes: int, seed: int) -> Quantiser:
        from recsys.semantic_ids.rq_vae import RQVAESettings, fit_rq_vae

        settings = RQVAESettings(num_steps=num_steps or RQVAESettings.num_steps, ema_decay=ema_decay)
        return fit_rq_vae(vectors, num_levels, num_codes, seed, settings)

    return fit


def _load_rq_vae(arrays: Arrays) -> Quantiser:
    from recsys.semantic_ids.rq_vae import TrainedRQVAE

    return TrainedRQVAE.of_arrays(arrays)


def _report(arguments: Sequence[str]) -> int:
    chosen = _report_parser().parse_args(list(arguments))
    if (chosen.items is None) != (chosen.name is None):
        raise ValueError("--items and --name go together: the file of items, and the column of what they are called.")
    if chosen.codes.is_dir():
        published = read_published(chosen.codes)
        codes, use = published.codes, published.use
    else:
        codes = read_codes(chosen.codes)
        use = use_of(codes)
    names = {} if chosen.items is None else _names(chosen, codes)
    CodesReport(str(chosen.codes), codes, use, names).write(chosen.out)
    print("\n".join([*summary(use), f"report: {chosen.out / 'report.html'}"]))
    return 0


def _names(chosen: argparse.Namespace, codes: Codes) -> dict[str, str]:
    """What items are called, of those among the codes."""
    frame = read_items(chosen.items, chosen.item, [chosen.name])
    called = texts_of(frame[chosen.name], f"--name: column '{chosen.name}'")
    names = names_of(frame["item"].to_list(), called.to_list())
    if names.keys().isdisjoint(codes.items.cast(pl.String).to_list()):
        raise ValueError(f"--items: no item of '{chosen.items}' with a name is among those of '{chosen.codes}'.")
    return names


def _report_parser() -> argparse.ArgumentParser:
    found = CommandParser(prog="recsys semantic_ids report", description="How codes are used, with pictures.")
    found.add_argument("codes", type=Path, help="a folder of semantic ids, or a Parquet file (item, code0, code1, ...)")
    found.add_argument("--out", type=Path, required=True, help="folder for report.html, pictures and use.json")
    found.add_argument("--items", type=Path, help="file with a row for each item")
    found.add_argument("--item", default="item", help="the column of its ids (default %(default)s)")
    found.add_argument("--name", help="the column of what items are called, for the examples")
    return found
