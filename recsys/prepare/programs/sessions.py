"""Prepare an event log as sequences of items, one per user or session, for next-item prediction.

    python data_scripts/sessions.py --set s3rec-beauty --raw s3rec-beauty --out data/beauty
    python data_scripts/sessions.py --set ml-1m --raw ml-1m --out data/ml-1m --text-dim 64
    python data_scripts/sessions.py --raw log.csv --user visitor --item sku --time at --gap-minutes 30 \
        --min-item-count 5 --min-length 2 --split sequences --targets every --item-columns brand tags:multi_valued \
        --out data/shop

Events are sorted by user and time, to the microsecond, and events of one time stay in the file's order; the folder
holds whole seconds. --set knows a publisher's files,
and refuses others by their counts of users, items and events. Filters come before the split, as in published work, and
so item counts of later events decide which items there are; --min-item-count 1 avoids that.

Splits: leave-one-out holds out each sequence's last two events, although other users' later events are trained on; time
holds out what happened last of all; sequences holds out whole sequences, by the time they begin; given keeps the
publisher's test sequences. With --targets every, each held-out event is told from those before it; training needs no
such prefixes, since every position predicts the next.

Item ids are 1..V by falling number of training events; 0 is padding.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from recsys.prepare.files.bad_lines import POLICIES
from recsys.prepare.files.event_times import MICROSECONDS
from recsys.prepare.files.prepared_folder import PreparedFolder
from recsys.prepare.files.run_program import run_program
from recsys.prepare.sessions.filter import FilterRule
from recsys.prepare.sessions.generic_log import LogColumns, read_log
from recsys.prepare.sessions.log import KINDS, EventLog, ItemColumn
from recsys.prepare.sessions.preparation import SessionRule, prepare_sessions
from recsys.prepare.sessions.sets import SETS, read_set
from recsys.prepare.sessions.splits import SPLITS_BY, SplitRule, Targets


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--raw", type=Path, required=True, help="the folder of a named set, or a CSV or Parquet file of events")
    add("--out", type=Path, required=True, help="folder to make; it appears when everything is written")
    add("--overwrite", action="store_true", help="replace --out if it is a prepared folder")
    add("--set", choices=SETS, help="a data set whose files are known")
    log = parser.add_argument_group("columns of an event log (without --set)")
    log.add_argument("--user", help="user, or session where nobody is known")
    log.add_argument("--item", help="what the event is about")
    log.add_argument("--time", help="numbers, dates or ISO texts; without it, rows of a user are in order")
    log.add_argument("--time-unit", choices=MICROSECONDS, default="s", help="of numbers (default %(default)s)")
    log.add_argument("--items", type=Path, help="file with a row per item; without it, metadata is in the log")
    log.add_argument(
        "--item-columns",
        nargs="+",
        default=[],
        metavar="NAME[:KIND]",
        help=f"metadata of items; KIND is one of {', '.join(KINDS)} (default categorical), bins:N makes N bins of "
        "numbers (default 10); text goes with --text-dim, vector is a list of numbers; lists in CSV: a|b",
    )
    log.add_argument("--on-bad-line", choices=POLICIES, default="fail", help="stop, or skip (default %(default)s)")
    add("--gap-minutes", type=float, help="cut users' events into sessions where they pause longer than this")
    add("--min-item-count", type=int, help="events an item must have (default 1; ml-1m 5, which leaves 3,416 items)")
    add("--min-length", type=int, default=1, help="events a sequence must have (default %(default)s)")
    add("--split", choices=SPLITS_BY, help="default leave-one-out, or that of the named set")
    add(
        "--targets", choices=("last", "every"), help="what to predict of held-out sequences (default last; given every)"
    )
    add("--val-fraction", type=float, default=0.1, help="of events (time) or sequences (default %(default)s)")
    add("--test-fraction", type=float, default=0.1, help="likewise (default %(default)s)")
    add("--text-dim", type=int, help="make vectors/text.npy of this width from items' texts (TF-IDF and SVD)")
    return parser


def _rule(parsed: argparse.Namespace) -> SessionRule:
    by = parsed.split or (SETS[parsed.set].split if parsed.set else "leave-one-out")
    targets: Targets = parsed.targets or ("every" if by in ("given", "sequences") else "last")
    if by == "leave-one-out" and targets == "every":
        raise ValueError("--targets every: leave-one-out has one target a sequence; use another --split.")
    least = 1 if parsed.set is None else SETS[parsed.set].min_item_count
    count = least if parsed.min_item_count is None else parsed.min_item_count
    return SessionRule(
        FilterRule(parsed.gap_minutes, count, parsed.min_length),
        SplitRule(by, targets, parsed.val_fraction, parsed.test_fraction),
        parsed.text_dim,
    )


def _read(parsed: argparse.Namespace) -> EventLog:
    if parsed.set is not None:
        for option in ("user", "item", "time", "items"):
            if getattr(parsed, option) is not None:
                raise ValueError(f"--{option} does not go with --set {parsed.set}, whose columns are known.")
        if parsed.item_columns:
            raise ValueError(f"--item-columns does not go with --set {parsed.set}, whose columns are known.")
        return read_set(parsed.set, parsed.raw)
    if parsed.user is None or parsed.item is None:
        raise ValueError("give --user and --item, names of columns, or --set.")
    columns = LogColumns(parsed.user, parsed.item, parsed.time, parsed.time_unit, _item_columns(parsed.item_columns))
    _check_texts(columns.item_columns, parsed.text_dim)
    return read_log(parsed.raw, parsed.items, columns, parsed.on_bad_line == "skip")


def _check_texts(columns: tuple[ItemColumn, ...], text_dim: int | None) -> None:
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
        kind = next((kind for kind in KINDS if kind == (word or "categorical")), None)
        if kind is None:
            raise ValueError(f"--item-columns {entry}: KIND must be one of {', '.join(KINDS)}, got '{word}'.")
        if number and not (kind == "bins" and number.isdecimal()):
            raise ValueError(f"--item-columns {entry}: only bins take a number, as in {name}:bins:100.")
        columns.append(ItemColumn(name, kind, int(number)) if number else ItemColumn(name, kind))
    return tuple(columns)


if __name__ == "__main__":
    main()
