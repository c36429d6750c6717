"""`recsys evaluate`: metrics of prediction files with intervals, slices, a comparison and a page of pictures.

recsys evaluate predictions.parquet --out report
recsys evaluate predictions.parquet --group user --slice device --frequency item=data/counts/item.parquet
recsys evaluate first.parquet --against second.parquet --key id
recsys evaluate --ckpt_path last.ckpt -c configs/criteo.yaml
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory

from recsys.configuration.words import divided
from recsys.evaluation.click_report import click_report
from recsys.evaluation.queries import is_of_sessions
from recsys.evaluation.ranking_report import ranking_report
from recsys.evaluation.request import Request
from recsys.evaluation.tables import TableFiles
from recsys.prepare.files.command_parser import CommandParser

_MOST_CUTOFF = 10_000


def main(arguments: Sequence[str]) -> int:
    """Evaluate, print and write; returns the exit code.

    Raises:
        ValueError: on bad input, naming file, column and row.
    """
    own, others = divided(arguments, parser())
    chosen = parser().parse_args(own)
    _check_cutoffs(chosen.cutoffs or ())
    if chosen.out is not None and chosen.out.exists() and not chosen.out.is_dir():
        raise ValueError(f"--out '{chosen.out}' is a file; give a folder.")
    if chosen.ckpt_path is None:
        if others or chosen.config:
            raise ValueError(_not_ours([*others, *chosen.config]))
        if not chosen.files:
            raise ValueError("give files of predictions, or --ckpt_path with -c.")
        return _evaluate(chosen, _request(chosen, tuple(chosen.files)))
    if chosen.files:
        raise ValueError("give either prediction files or --ckpt_path with -c, not both.")
    from recsys.commands.checkpoint_predictions import predict_for

    request = _request(chosen, ())
    with TemporaryDirectory() as folder:
        configs = [word for config in chosen.config for word in ("-c", config)]
        path = predict_for(chosen.ckpt_path, [*configs, *others], request.columns, Path(folder))
        return _evaluate(chosen, _request(chosen, (path,), str(chosen.ckpt_path)))


def _check_cutoffs(cutoffs: Sequence[int]) -> None:
    for cutoff in cutoffs:
        if cutoff > _MOST_CUTOFF:
            raise ValueError(f"--cutoffs must be at most {_MOST_CUTOFF}, got {cutoff}.")


def _evaluate(chosen: argparse.Namespace, request: Request) -> int:
    is_ranking = chosen.ranking or (chosen.ckpt_path is not None and is_of_sessions(TableFiles(request.files)))
    if request.cutoffs is not None and not is_ranking:
        raise ValueError(f"--cutoffs {' '.join(map(str, request.cutoffs))}: only with --ranking.")
    try:
        report = ranking_report(request) if is_ranking else click_report(request)
    except ValueError as error:
        read = (*request.files, *request.against, *(counts for _, counts in request.frequency))
        told = str(error).startswith("--") or any(str(path) in str(error) for path in read)
        if told:
            raise
        raise ValueError(f"{request.words}: {error}") from error
    report.print()
    if chosen.out is not None:
        report.write(chosen.out)
        print(f"report: {chosen.out / 'report.html'}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = CommandParser(prog="recsys evaluate", description="Metrics of prediction files.")
    found.add_argument("files", nargs="*", type=Path, help=".parquet, .csv or .tsv, or folders of them, read as one")
    found.add_argument(
        "--ckpt_path", type=Path, help="predict with this checkpoint first; further options as predict's"
    )
    found.add_argument("-c", "--config", action="append", default=[], help="config of the checkpoint, once or more")
    found.add_argument("--label", help="column of 0 and 1 (default: label)")
    found.add_argument("--score", help="column of scores (default: score, probabilities, or logit, logits)")
    found.add_argument("--logits", action="store_true", help="scores are logits")
    found.add_argument(
        "--weight", help="column of row weights, in every number: 2 is the row twice (default: that of predict)"
    )
    found.add_argument(
        "--group", help="column of users: adds GAUC; intervals and tests take whole users, not rows, as independent"
    )
    found.add_argument(
        "--ranking", action="store_true", help="HR, recall, NDCG, MRR: groups are queries, or rows are sessions"
    )
    found.add_argument("--cutoffs", type=int, nargs="+", help="list lengths of --ranking (default: 5 10 20)")
    found.add_argument("--slice", nargs="+", default=[], metavar="COLUMN", help="metrics by value of these columns")
    found.add_argument(
        "--frequency", nargs="+", default=[], metavar="COLUMN=COUNTS", help="by training frequency of these ids"
    )
    found.add_argument("--time", help="column of times: metrics by consecutive spans")
    found.add_argument(
        "--against", nargs="+", default=[], type=Path, help="files of a second model on the same rows: compare"
    )
    found.add_argument(
        "--key",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="columns to join --against by (default: row by row, where all columns of both but scores are equal)",
    )
    found.add_argument("--confidence", type=float, default=0.95)
    found.add_argument("--memory", type=float, default=8.0, metavar="GIB", help="rows beyond it are streamed (8)")
    found.add_argument("--out", type=Path, help="folder for metrics.json, metrics.parquet and report.html")
    return found


def _request(chosen: argparse.Namespace, files: tuple[Path, ...], title: str = "") -> Request:
    return Request(
        files=files,
        title=title,
        label=chosen.label,
        score=chosen.score,
        logits=chosen.logits,
        weight=chosen.weight,
        group=chosen.group,
        key=tuple(dict.fromkeys(chosen.key)),
        slice=tuple(dict.fromkeys(chosen.slice)),
        frequency=tuple(_frequency(entry) for entry in dict.fromkeys(chosen.frequency)),
        time=chosen.time,
        against=tuple(chosen.against),
        cutoffs=None if chosen.cutoffs is None else tuple(chosen.cutoffs),
        confidence=chosen.confidence,
        memory=chosen.memory,
    )


def _frequency(entry: str) -> tuple[str, Path]:
    column, separator, counts = entry.partition("=")
    if not separator or not column or not counts:
        raise ValueError(f"--frequency: must be COLUMN=COUNTS.parquet, got '{entry}'.")
    return column, Path(counts)


def _not_ours(words: Sequence[str]) -> str:
    known = [option for action in parser()._actions for option in action.option_strings]
    close = get_close_matches(words[0].split("=")[0], known, n=1)
    hint = f"; did you mean {close[0]}?" if close else "; see recsys evaluate --help."
    return f"{' '.join(words)}: only with --ckpt_path{hint}"
