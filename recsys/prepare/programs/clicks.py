"""Prepare anybody's log of clicks: CSV, Parquet, Arrow or JSON lines, plain or packed, one file or many.

    recsys prepare clicks log.csv --out data/mine --config mine.yaml
    recsys prepare clicks log.csv --spec mine_columns.yaml
    recsys prepare clicks log.csv more.parquet parts/ --label click --categorical "C*" user item --dense price:log \
        --lists tags:"|" --weight w --group user --time at --split time --key id --out data/mine

Files are named as they are, without patterns of our own; a folder is all files in it. A CSV file has a header, or
--columns names them. Without --categorical, --dense and --lists every column is looked at, and what it is taken for is
printed; --spec FILE writes it down to edit, and reads it where FILE exists. With --config FILE there is a configuration
that trains at once: recsys fit -c FILE.

Values are texts: 007 and 7 are two; 7 and 7.0 of number columns are one. An empty text, null and NaN are missing, id 0,
and --missing names more. Numbers are standardised unless you say NAME:log, NAME:bins:20 or NAME:none, all fitted on
train; a missing number becomes the mean, or 0. Labels are 0 and 1, or what --positive or --positive-from says.
Rows with --weight count as often in loss and metrics; --group is whom GAUC (val/gauc) averages over; --key columns come
back in predictions. New rows for the same model: recsys prepare apply.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import polars as pl

from recsys.prepare.clicks.click_rows import ClickRows
from recsys.prepare.clicks.click_spec import ClickSpec
from recsys.prepare.clicks.column_kinds import SAMPLE_ROWS, infer_spec
from recsys.prepare.clicks.column_options import ColumnOptions, decisions
from recsys.prepare.clicks.feature_encoding import EncodingRule
from recsys.prepare.clicks.preparation import PreparationRule
from recsys.prepare.clicks.row_split import SplitBy
from recsys.prepare.clicks.spec_file import read_spec, write_spec
from recsys.prepare.files.command_parser import CommandParser
from recsys.prepare.files.event_times import MICROSECONDS, check_time_words
from recsys.prepare.files.open_table import Table, find_column, open_tables
from recsys.prepare.files.preparation_arguments import (
    add_config_argument,
    add_shared_arguments,
    prepare_folder,
    program_name,
    split_rule,
)
from recsys.prepare.files.raw_paths import check_outside
from recsys.prepare.files.run_program import run_program
from recsys.prepare.files.text_format_arguments import add_format_arguments, text_format
from recsys.prepare.files.text_table import TextFormat

SPECIAL = ("label", "weight", "group", "time")


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.out is None and parsed.spec is None:
        parser.error("give --out FOLDER, or --spec FILE to decide only")
    run_program(lambda: _prepare(parsed))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=program_name("clicks"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="or folders of parts")
    add_format_arguments(parser)
    columns = parser.add_argument_group("columns")
    add = columns.add_argument
    add("--label", metavar="COLUMN", help="whether it was a click")
    add("--positive", nargs="+", default=[], metavar="TEXT", help="labels that are clicks, where they are not 0 and 1")
    add("--positive-from", type=float, metavar="NUMBER", help="the least label that is a click, likewise")
    add("--categorical", nargs="+", default=[], metavar="COLUMN", help='names or patterns such as "C*"')
    add("--dense", nargs="+", default=[], metavar="COLUMN[:TRANSFORM]", help="standardise, log, bins:N or none")
    add("--lists", nargs="+", default=[], metavar="COLUMN[:SEPARATOR]", help='such as tags:"|"')
    add("--pooling", choices=("mean", "sum"), help="of lists (default mean)")
    add("--weight", metavar="COLUMN", help="how often a row counts")
    add("--group", metavar="COLUMN", help="users, over which GAUC averages")
    add("--key", nargs="+", default=[], metavar="COLUMN", help="kept as they are, into predictions")
    add("--spec", type=Path, metavar="FILE", help="YAML of all this: read if it exists, else written")
    add("--time", metavar="COLUMN", help="numbers, dates or ISO texts")
    add("--time-unit", choices=MICROSECONDS, help="of times that are numbers (default s)")
    add("--time-format", metavar="FORMAT", help="of times that are other texts, such as %%d/%%m/%%Y")
    add = parser.add_argument
    add("--split", type=_split, help="time (the default with --time), random (without), rows, or given:COLUMN")
    add("--min-count", type=int, help="values seen less often in train share id 0 (default 2)")
    add("--hash-bits", type=int, help="no vocabulary: hash each value into 2**BITS ids, at most 30 bits")
    add_config_argument(parser)
    add_shared_arguments(parser, requires_out=False)
    return parser


def _split(word: str) -> str:
    if not _is_split(word):
        raise argparse.ArgumentTypeError(f"must be time, random, rows or given:COLUMN, got '{word}'")
    return word


def _is_split(word: str) -> bool:
    return word in ("time", "random", "rows") or (word.startswith("given:") and word != "given:")


def _prepare(parsed: argparse.Namespace) -> None:
    format = text_format(parsed)
    check_outside(parsed.out, parsed.files)
    tables = open_tables(parsed.files, format, "FILE")
    spec, split = _spec(parsed, tables)
    print("\n".join([f"{tables[0].file.name}:", *decisions(spec, tables[0].columns)]))
    rule = _rule(parsed, spec, split, format)
    if parsed.spec is not None and not parsed.spec.exists():
        write_spec(parsed.spec, spec, split, f"recsys prepare clicks FILE --spec {parsed.spec} --out FOLDER")
        print(f"wrote {parsed.spec}")
    if parsed.out is None:
        return
    dataset = ClickRows(tables, spec, parsed.out.name, splits_by_time=rule.split.by == "time")
    prepare_folder(dataset, rule, parsed.out, parsed.overwrite, parsed.config)


def _rule(parsed: argparse.Namespace, spec: ClickSpec, split: str, format: TextFormat) -> PreparationRule:
    by: SplitBy = "given" if split.startswith("given:") else split  # type: ignore[assignment]
    if by == "time" and spec.time is None:
        raise ValueError("--split time needs times; give --time COLUMN.")
    if by != "time" and parsed.time is not None:
        raise ValueError(f"--time {parsed.time} is what --split time goes by, and has no use with --split {split}.")
    check_time_words(spec.time, parsed.time_unit, parsed.time_format)
    if all(column.kind == "dense" for column in spec.columns):
        for option, value in (("--min-count", parsed.min_count), ("--hash-bits", parsed.hash_bits)):
            if value is not None:
                raise ValueError(
                    f"{option} {value} says how values become ids, and all columns are numbers; leave it out."
                )
    split_by = split_rule(by, parsed.fractions, parsed.seed)
    usual = 2 if parsed.hash_bits is None else 1
    return PreparationRule(
        EncodingRule(usual if parsed.min_count is None else parsed.min_count, parsed.hash_bits),
        split_by,
        parsed.on_bad_line,
        labelled_by=_labelled_by(spec),
        says={"columns": spec.as_json(), "format": {"columns": format.columns, "missing": format.missing}},
    )


def _labelled_by(spec: ClickSpec) -> str:
    if spec.positive_from is not None:
        return f"--positive-from {spec.positive_from:g} of column '{spec.label}'"
    return f"--positive {' '.join(spec.positive)} of column '{spec.label}'" if spec.positive else ""


def _spec(parsed: argparse.Namespace, tables: list[Table]) -> tuple[ClickSpec, str]:
    """What the columns are, and how rows are split."""
    if parsed.pooling is not None and not parsed.lists:
        raise ValueError(
            f"--pooling {parsed.pooling} is said of --lists, which is missing; give it, or leave this out."
        )
    options = ColumnOptions(parsed.categorical, parsed.dense, parsed.lists, parsed.pooling or "mean")
    said = {name: getattr(parsed, name) for name in SPECIAL}
    said["split_column"] = parsed.split.partition(":")[2] or None if parsed.split else None
    if parsed.spec is not None and parsed.spec.exists():
        named = [
            name
            for name in (*said, "key", "positive", "time_unit", "time_format")
            if said.get(name, getattr(parsed, name, None))
        ]
        if options or named or parsed.positive_from is not None:
            raise ValueError(f"--spec '{parsed.spec}' exists and says what the columns are; change it there.")
        spec, split = read_spec(parsed.spec)
        if spec.label is None:
            raise ValueError(f"--spec '{parsed.spec}': names no label.")
        if split is not None and not _is_split(split):
            raise ValueError(
                f"--spec '{parsed.spec}': split must be time, random, rows or given:COLUMN, got '{split}'."
            )
        return spec, parsed.split or split or _default_split(spec)
    first = tables[0]
    for role, name in [*said.items(), *(("key", key) for key in parsed.key)]:
        if name is not None:
            find_column(first.columns, name, f"--{role.partition('_')[0]}", first.file.name)
    if options:
        if said["label"] is None:
            raise ValueError("give --label COLUMN beside --categorical, --dense and --lists.")
        special = [name for role, name in said.items() if name is not None and role != "group"] + parsed.key
        spec = ClickSpec(options.rules(first.columns, special, first.file.name), **said)
    else:
        spec = infer_spec(_sample(first), said, by_time=parsed.split in (None, "time"))
        spec = replace(spec, columns=tuple(rule for rule in spec.columns if rule.name not in parsed.key))
    more = {"positive": tuple(parsed.positive), "time_format": parsed.time_format}
    more |= {} if parsed.positive_from is None else {"positive_from": parsed.positive_from}
    more |= {} if parsed.time_unit is None else {"time_unit": parsed.time_unit}
    more |= {"keys": tuple(dict.fromkeys([*spec.keys, *parsed.key]))}
    spec = replace(spec, **{name: value for name, value in more.items() if value not in (None, ())})
    return spec, parsed.split or _default_split(spec)


def _default_split(spec: ClickSpec) -> str:
    if spec.split_column is not None:
        return f"given:{spec.split_column}"
    return "random" if spec.time is None else "time"


def _sample(table: Table) -> pl.DataFrame:
    """The first rows of a file."""
    frames: list[pl.DataFrame] = []
    for block in table.blocks():
        frames.append(table.parse(block).rows.frame)
        if sum(map(len, frames)) >= SAMPLE_ROWS:
            break
    if not any(map(len, frames)):
        raise ValueError(f"'{table.file.name}' has no rows to tell from what its columns are.")
    return pl.concat(frames, how="vertical_relaxed")


if __name__ == "__main__":
    main()
