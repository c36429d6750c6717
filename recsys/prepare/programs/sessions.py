"""Prepare an event log as sequences of items, one per user or session, for next-item prediction.

    recsys prepare sessions --set s3rec-beauty --raw s3rec-beauty --out data/beauty
    recsys prepare sessions --set ml-1m --raw ml-1m --out data/ml-1m --text-dim 64
    recsys prepare sessions --layout yoochoose --raw yoochoose-clicks.dat --split sequences --out data/yoochoose
    recsys prepare sessions --raw log.csv --user visitor --item sku --time at --gap-minutes 30 \
        --min-item-count 5 --min-length 2 --split sequences --targets every --item-columns brand tags:multi_valued \
        --out data/shop

Logs are CSV, Parquet, Arrow or JSON lines, plain or packed, one file, many or folders of parts, with a row an event, or
a row a sequence whose items are a list (in CSV a text that --list-separator divides). Events are sorted by user and
time, to the microsecond, and events of one time stay in the file's order; the folder holds whole seconds. --layout
knows how a publisher writes, and --set knows a data set, and refuses others by their counts of users, items and events.
Filters come before the split, as in published work, and so item counts of later events decide which items there are;
--min-item-count 1 avoids that.

Splits: leave-one-out holds out each sequence's last two events, although other users' later events are trained on;
random holds out two of each at random, for logs without times; time holds out what happened last of all; sequences
holds out whole sequences, by the time they begin; given keeps the publisher's, and given:COLUMN that of a column of
train, val and test. With --targets every, each held-out event is told from those before it; training needs no such
prefixes, since every position predicts the next.

Item ids are 1..V by falling number of training events; 0 is padding.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from recsys.prepare.files.bad_lines import POLICIES
from recsys.prepare.files.command_parser import CommandParser
from recsys.prepare.files.event_times import MICROSECONDS, check_time_words
from recsys.prepare.files.preparation_arguments import program_name
from recsys.prepare.files.prepared_folder import PreparedFolder
from recsys.prepare.files.raw_paths import check_outside
from recsys.prepare.files.run_program import run_program
from recsys.prepare.files.text_format_arguments import add_format_arguments, text_format
from recsys.prepare.sessions.filter import FilterRule
from recsys.prepare.sessions.generic_log import LogColumns, read_log
from recsys.prepare.sessions.layouts import LAYOUTS, LogLayout
from recsys.prepare.sessions.log import KINDS, EventLog, ItemColumn
from recsys.prepare.sessions.preparation import SessionRule, prepare_sessions
from recsys.prepare.sessions.sets import SETS, read_set
from recsys.prepare.sessions.splits import SPLITS_BY, SplitBy, SplitRule, Targets

OF_LOGS = (
    "layout",
    "user",
    "item",
    "time",
    "items",
    "items_id",
    "item_columns",
    "list_separator",
    "columns",
    "separator",
)

_FRACTIONS = ("val_fraction", "test_fraction")
USED_BY: dict[SplitBy, tuple[str, ...]] = {
    "leave-one-out": (),
    "random": ("seed",),
    "time": _FRACTIONS,
    "sequences": _FRACTIONS,
    "given": ("val_fraction",),
}
"""Options that each split goes by."""


def main(arguments: list[str] | None = None) -> None:
    """Run the script."""
    parsed = _parser().parse_args(arguments)
    run_program(lambda: _prepare(parsed))


def _prepare(parsed: argparse.Namespace) -> None:
    rule = _rule(parsed)
    with PreparedFolder(parsed.out, parsed.overwrite) as folder:
        report = prepare_sessions(_read(parsed), rule, folder)
    print("\n".join([*report, f"wrote {parsed.out}"]))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=program_name("sessions"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--raw", type=Path, nargs="+", required=True, metavar="PATH", help="folder of a named set, or files of events")
    add("--out", type=Path, required=True, help="folder to make; it appears when everything is written")
    add("--overwrite", action="store_true", help="replace --out if a preparation has made all that is in it")
    add("--set", choices=SETS, help="a data set whose files are known")
    log = parser.add_argument_group("columns of an event log (without --set)").add_argument
    log("--layout", choices=LAYOUTS, help="how a publisher writes; the options below change it")
    log("--user", help="user, or session where nobody is known")
    log("--item", help="what the event is about, or a list of all that a sequence has")
    log("--time", help="numbers, dates or ISO texts; without it, rows of a user are in order")
    log("--time-unit", choices=MICROSECONDS, help="of numbers (default s)")
    log("--time-format", metavar="FORMAT", help="of times that are other texts, such as %%d/%%m/%%Y")
    log("--list-separator", metavar="TEXT", help="between the items, and the times, of a cell")
    log("--items", type=Path, nargs="+", default=[], metavar="PATH", help="a row per item; else metadata is in the log")
    log("--items-id", metavar="COLUMN", help="of ids in --items (default: as in the log)")
    log(
        "--item-columns",
        nargs="+",
        default=[],
        metavar="NAME[:KIND]",
        help=f"metadata of items; KIND is one of {', '.join(KINDS)} (default categorical), bins:N makes N bins of "
        "numbers (default 10); text goes with --text-dim, vector is a list of numbers; lists in CSV: a|b",
    )
    log("--on-bad-line", choices=POLICIES, default="fail", help="stop, or skip (default %(default)s)")
    add_format_arguments(parser)
    add("--gap-minutes", type=float, help="cut users' events into sessions where they pause longer than this")
    add("--min-item-count", type=int, help="events an item must have (default 1; ml-1m 5, which leaves 3,416 items)")
    add("--min-length", type=int, default=1, help="events a sequence must have (default %(default)s)")
    add("--split", type=_split, help=f"{', '.join(SPLITS_BY)}:COLUMN (default leave-one-out, or that of the named set)")
    add(
        "--targets", choices=("last", "every"), help="what to predict of held-out sequences (default last; given every)"
    )
    add("--val-fraction", type=float, help=f"of events (time) or sequences (default {SplitRule.val_fraction})")
    add("--test-fraction", type=float, help=f"likewise (default {SplitRule.test_fraction})")
    add("--seed", type=int, help="of --split random (default 0)")
    add("--text-dim", type=int, help="make vectors/text.npy of this width from items' texts (TF-IDF and SVD)")
    return parser


def _split(word: str) -> str:
    if word not in SPLITS_BY and not (word.startswith("given:") and word != "given:"):
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(SPLITS_BY)}, or given:COLUMN, got '{word}'")
    return word


def _rule(parsed: argparse.Namespace) -> SessionRule:
    given = parsed.split or (SETS[parsed.set].split if parsed.set else "leave-one-out")
    by: SplitBy = next(each for each in SPLITS_BY if each == given.partition(":")[0])
    targets: Targets = parsed.targets or ("every" if by in ("given", "sequences") else "last")
    if by in ("leave-one-out", "random") and targets == "every":
        raise ValueError("--targets every: leave-one-out has one target a sequence; use another --split.")
    said = {
        name: value
        for name in ("val_fraction", "test_fraction", "seed")
        if (value := getattr(parsed, name)) is not None
    }
    for name in said:
        if name not in USED_BY[by]:
            raise ValueError(f"--{name.replace('_', '-')} has no use with --split {by}; leave it out.")
    least = 1 if parsed.set is None else SETS[parsed.set].min_item_count
    count = least if parsed.min_item_count is None else parsed.min_item_count
    return SessionRule(
        FilterRule(parsed.gap_minutes, count, parsed.min_length),
        SplitRule(by, targets, **said),
        parsed.text_dim,
    )


def _read(parsed: argparse.Namespace) -> EventLog:
    if parsed.set is not None:
        for option in OF_LOGS:
            if getattr(parsed, option):
                name = option.replace("_", "-")
                raise ValueError(f"--{name} does not go with --set {parsed.set}, whose columns are known.")
        if len(parsed.raw) > 1:
            raise ValueError(f"--raw: --set {parsed.set} takes one folder.")
        return read_set(parsed.set, parsed.raw[0])
    if parsed.items and not parsed.item_columns:
        raise ValueError("--items needs --item-columns, what of it is kept.")
    if parsed.items_id is not None and not parsed.items:
        raise ValueError("--items-id names a column of --items, which is not given.")
    columns = _columns(parsed)
    _check_texts(columns.item_columns, parsed.text_dim)
    check_outside(parsed.out, [*parsed.raw, *parsed.items])
    name = parsed.raw[0].name.split(".")[0] or parsed.raw[0].name
    return read_log(parsed.raw, parsed.items, columns, parsed.on_bad_line == "skip", name)


def _columns(parsed: argparse.Namespace) -> LogColumns:
    """What is said of the columns, and what the layout knows beside it."""
    known = LAYOUTS.get(parsed.layout)
    if known is None and (parsed.user is None or parsed.item is None):
        raise ValueError("give --user and --item, names of columns, or --layout, or --set.")
    known = known or LogLayout(parsed.user, parsed.item, parsed.time)
    if parsed.list_separator == "":
        raise ValueError("--list-separator must be a text, got ''; leave it out where cells are lists.")
    format = text_format(parsed, ragged=True)
    of_layout = known.format
    format = replace(
        format,
        separator=format.separator or of_layout.separator,
        columns=format.columns or of_layout.columns,
        encoding=of_layout.encoding if format.encoding == "utf-8" else format.encoding,
    )
    check_time_words(parsed.time or known.time, parsed.time_unit, parsed.time_format)
    has_split = parsed.split is not None and ":" in parsed.split
    of_log = known.item_columns if not parsed.items else ()
    return LogColumns(
        user=parsed.user or known.user,
        item=parsed.item or known.item,
        time=parsed.time or known.time,
        time_unit=parsed.time_unit or known.time_unit,
        item_columns=_item_columns(parsed.item_columns) or of_log,
        time_format=known.time_format if parsed.time_format is None else parsed.time_format,
        time_beside=known.time_beside if parsed.time is None else None,
        split=parsed.split.partition(":")[2] if has_split else None,
        list_separator=parsed.list_separator,
        items_id=parsed.items_id,
        format=format,
        typed_header=known.typed_header,
    )


def _check_texts(columns: tuple[ItemColumn, ...], text_dim: int | None) -> None:
    if text_dim is not None and text_dim < 1:
        raise ValueError(f"--text-dim must be at least 1, got {text_dim}.")
    if text_dim is not None and all(column.kind != "text" for column in columns):
        raise ValueError("--text-dim needs texts of items; name their columns, as in --item-columns title:text.")
    for column in columns:
        if column.kind == "text" and text_dim is None:
            raise ValueError(f"--item-columns {column.name}:text needs --text-dim, the width of vectors made of texts.")
        if column.kind == "vector" and column.name == "text" and text_dim is not None:
            raise ValueError("--item-columns text:vector: --text-dim makes vectors of this name; rename the column.")


def _item_columns(entries: list[str]) -> tuple[ItemColumn, ...]:
    columns = []
    for entry in entries:
        name, _, given = entry.partition(":")
        word, _, number = given.partition(":")
        if entry.endswith(":"):
            raise ValueError(f"--item-columns {entry}: nothing after the last colon; write {entry.rstrip(':')}.")
        kind = next((kind for kind in KINDS if kind == (word or "categorical")), None)
        if kind is None:
            raise ValueError(f"--item-columns {entry}: KIND must be one of {', '.join(KINDS)}, got '{word}'.")
        if number and not (kind == "bins" and number.isdecimal()):
            raise ValueError(f"--item-columns {entry}: only bins take a number, as in {name}:bins:100.")
        columns.append(ItemColumn(name, kind, int(number)) if number else ItemColumn(name, kind))
    return tuple(columns)


if __name__ == "__main__":
    main()
