"""The command line that the programs share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from recsys.prepare.clicks.config_file import check_config, write_config
from recsys.prepare.clicks.feature_encoding import EncodingRule
from recsys.prepare.clicks.preparation import PreparationRule, prepare
from recsys.prepare.clicks.raw_dataset import RawDataset
from recsys.prepare.clicks.row_split import SplitBy, SplitRule
from recsys.prepare.files.bad_lines import POLICIES
from recsys.prepare.files.command_parser import CommandParser
from recsys.prepare.files.prepared_folder import PreparedFolder
from recsys.prepare.files.raw_files import RawFile
from recsys.prepare.files.raw_paths import check_outside, named_files

FRACTIONS = (0.8, 0.1, 0.1)


def program_name(name: str) -> str:
    """What a program calls itself: as it was started, from a clone or as a command."""
    return f"python {sys.argv[0]}" if sys.argv[0].endswith(f"{name}.py") else f"recsys prepare {name}"


def make_parser(
    name: str, description: str, raw_help: str, splits: tuple[SplitBy, ...], requires_out: bool = True
) -> argparse.ArgumentParser:
    """Return a parser with the shared arguments; the first of ``splits`` is the default."""
    parser = CommandParser(
        prog=program_name(name),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--raw", type=Path, nargs="+", metavar="PATH", help=raw_help)
    add("--min-count", type=int, default=1, help="values seen less often in train share id 0 (default %(default)s)")
    add("--hash-bits", type=int, help="no vocabulary: hash each value into 2**BITS ids, at most 30 bits")
    add(
        "--number-unseen",
        nargs="+",
        default=[],
        metavar="FEATURE",
        help="values of these features that train does not have get ids of their own instead of id 0",
    )
    add("--split", choices=splits, default=splits[0], help="by row order, at random or by day (default %(default)s)")
    add_config_argument(parser)
    add_shared_arguments(parser, requires_out)
    return parser


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Add what a preparation to train on may write beside the folder."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="write a configuration that trains at once")


def add_shared_arguments(parser: argparse.ArgumentParser, requires_out: bool = True) -> None:
    """Add what every preparation of clicks may be told."""
    add = parser.add_argument
    add("--out", type=Path, required=requires_out, help="folder to make; it appears when everything is written")
    add("--overwrite", action="store_true", help="replace --out if a preparation has made all that is in it")
    add("--fractions", type=float, nargs=3, metavar=("TRAIN", "VAL", "TEST"), help="of the rows (default .8 .1 .1)")
    add("--seed", type=int, help="of the random split (default 0)")
    add("--on-bad-line", choices=POLICIES, default="fail", help="stop, or skip and list them (default %(default)s)")


def split_rule(by: SplitBy, fractions: Sequence[float] | None, seed: int | None, draws: bool = False) -> SplitRule:
    """How rows are split.

    Args:
        by: what the split goes by.
        fractions: None where not given.
        seed: None where not given.
        draws: whether the seed draws the rows themselves.

    Raises:
        ValueError: on fractions or a seed that the split does not go by, or out of range.
    """
    if by == "given" and fractions is not None:
        raise ValueError("--fractions has no use with --split given, which says where each row goes; leave it out.")
    if by != "random" and seed is not None and not draws:
        raise ValueError(f"--seed {seed} has no use with --split {by}; give --split random, or leave it out.")
    first, second, third = FRACTIONS if fractions is None else fractions
    return SplitRule(by, (first, second, third), seed or 0)


def make_rule(arguments: argparse.Namespace, recipe: Mapping[str, object]) -> PreparationRule:
    """Return the rule that the shared arguments ask for; the recipe is what `recsys prepare apply` goes by.

    Raises:
        ValueError: An option has no use with the split, or is out of range.
    """
    draws = getattr(arguments, "sample", None) is not None
    return PreparationRule(
        encoding=EncodingRule(arguments.min_count, arguments.hash_bits, frozenset(arguments.number_unseen)),
        split=split_rule(arguments.split, arguments.fractions, arguments.seed, draws),
        on_bad_line=arguments.on_bad_line,
        says={"recipe": recipe},
    )


def raw_files(paths: Sequence[Path], out: Path) -> list[RawFile]:
    """Return the files that --raw names, parts of folders included; ``out`` must not be among them."""
    check_outside(out, paths)
    return [RawFile(path, name) for path, name in named_files(paths, "--raw")]


def prepare_folder(
    dataset: RawDataset, rule: PreparationRule, out: Path, overwrite: bool, config: Path | None = None
) -> None:
    """Prepare ``dataset`` into ``out`` and print the report; ``config`` is written to train on it.

    Raises:
        ValueError: As ``prepare`` does, there is a file ``config`` already, or a raw file lies in ``out``, which would
            be removed with it.
    """
    for file in [*dataset.main_files, *dataset.side_files]:
        if file.path.resolve().is_relative_to(out.resolve()):
            raise ValueError(f"--out '{out}' holds '{file.path}', which is read; give another folder.")
    publish(lambda folder: prepare(dataset, rule, folder), out, overwrite, config)


def publish(fill: Callable[[Path], list[str]], out: Path, overwrite: bool, config: Path | None = None) -> None:
    """Have ``out`` filled, whole or not at all, and print the report that ``fill`` returns.

    Raises:
        ValueError: There is a file ``config`` already, or a folder ``out`` that is kept.
    """
    if config is not None:
        check_config(config)
    with PreparedFolder(out, overwrite) as folder:
        report = fill(folder)
    print("\n".join([*report, f"wrote {out}"]))
    if config is not None:
        write_config(config, out)
        print(f"wrote {config}; train with: recsys fit -c {config}")
