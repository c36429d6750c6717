"""Prepare new rows with the vocabulary of a folder of clicks.

    recsys prepare apply data/mine new.parquet --out data/new
    recsys prepare apply data/mine new.csv --key request --out data/new
    recsys prepare apply data/mine new.csv --grow --out data/larger
    recsys prepare apply data/criteo test.txt --out data/new

The folder is one of `recsys prepare clicks`, `criteo`, `avazu`, `movielens` or `apply`; new files have the columns, or
the publisher's layout, of the old ones.

Every value has the id that it has in the old folder; a new value has id 0, like a rare one. Numbers are transformed as
they were. All rows are the test split, and `lightning predict --data.path data/new` scores them. Labels may lack; the
rows' own keys come back in the predictions.

With --grow new values get ids behind the old ones, which never move, and rows are split as the old ones were: a
checkpoint of the old folder goes on training with larger tables.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from recsys.prepare.clicks.click_rows import ClickRows
from recsys.prepare.clicks.click_spec import ClickSpec
from recsys.prepare.clicks.earlier_folder import EarlierFolder
from recsys.prepare.clicks.feature_encoding import EncodingRule
from recsys.prepare.clicks.preparation import PreparationRule
from recsys.prepare.clicks.published import published_rows
from recsys.prepare.clicks.raw_dataset import RawDataset
from recsys.prepare.clicks.row_split import SplitBy
from recsys.prepare.files.command_parser import CommandParser
from recsys.prepare.files.open_table import Table, find_column, open_tables
from recsys.prepare.files.preparation_arguments import (
    add_shared_arguments,
    prepare_folder,
    program_name,
    split_rule,
)
from recsys.prepare.files.raw_paths import check_outside
from recsys.prepare.files.run_program import run_program
from recsys.prepare.files.text_format_arguments import add_format_arguments, text_format
from recsys.prepare.files.text_table import TextFormat


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    parsed = _parser().parse_args(arguments)
    run_program(lambda: _apply(parsed))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog=program_name("apply"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", type=Path, help="made by recsys prepare")
    add("files", type=Path, nargs="+", metavar="FILE", help="of new rows, or folders of parts")
    add_format_arguments(parser)
    add("--key", nargs="+", metavar="COLUMN", help="kept as they are, into predictions (default: those of FOLDER)")
    add("--grow", action="store_true", help="give new values ids behind the old ones, and split rows to train on")
    add("--min-count", type=int, help="new values seen less often in train share id 0 (default: that of FOLDER)")
    add_shared_arguments(parser)
    return parser


def _apply(parsed: argparse.Namespace) -> None:
    if parsed.out.resolve() == parsed.folder.resolve():
        raise ValueError(
            f"--out '{parsed.out}' is the folder whose vocabulary is read, and its rows would be gone; give another."
        )
    earlier = EarlierFolder(parsed.folder)
    check_outside(parsed.out, [parsed.folder, *parsed.files])
    _check_options(parsed, earlier)
    by: SplitBy = earlier.split_by if parsed.grow else "test"
    split = split_rule(by, parsed.fractions, parsed.seed)
    dataset = _click_rows(parsed, earlier, by) if earlier.recipe is None else _published(parsed, earlier)
    if parsed.grow and not dataset.beside.label:
        raise ValueError(f"--grow makes rows to train on, and '{dataset.main_files[0].name}' has no labels.")
    counts = earlier.bin_counts()
    transforms = {
        name: replace(transform, counts=counts.get(name, ())) for name, transform in earlier.transforms.items()
    }
    min_count = earlier.schema["min_count"] if parsed.min_count is None else parsed.min_count
    known = earlier.vocabularies(dataset.long_values)
    unseen = frozenset(earlier.schema.get("number_unseen") or ())
    rule = PreparationRule(
        EncodingRule(min_count, earlier.schema.get("hash_bits"), unseen, known, parsed.grow),
        split,
        parsed.on_bad_line,
        transforms=transforms,
        says={key: earlier.schema[key] for key in ("columns", "format", "recipe") if key in earlier.schema}
        | {"vocabulary_of": str(parsed.folder)},
    )
    prepare_folder(dataset, rule, parsed.out, parsed.overwrite)


def _check_options(parsed: argparse.Namespace, earlier: EarlierFolder) -> None:
    if parsed.min_count is not None and not parsed.grow:
        raise ValueError("--min-count decides which values are new ids; it goes with --grow.")
    if not parsed.grow and (parsed.fractions is not None or parsed.seed is not None):
        raise ValueError("--fractions and --seed split rows to train on; they go with --grow.")
    if earlier.recipe is not None and text_format(parsed) != TextFormat():
        raise ValueError(
            f"--separator, --columns, --encoding and --missing say how anybody's files look; the new files have the "
            f"layout of {earlier.recipe.get('program')}."
        )


def _published(parsed: argparse.Namespace, earlier: EarlierFolder) -> RawDataset:
    assert earlier.recipe is not None
    keys = parsed.key if parsed.key is not None else earlier.schema.get("keys", [])
    return published_rows(earlier.recipe, parsed.files, keys, earlier.schema["dataset"])


def _click_rows(parsed: argparse.Namespace, earlier: EarlierFolder, by: SplitBy) -> RawDataset:
    given = text_format(parsed)
    format = replace(given, columns=given.columns or earlier.columns, missing=given.missing or earlier.missing)
    tables = open_tables(parsed.files, format, "FILE")
    spec = _spec(earlier.spec, tables, parsed.key, by)
    return ClickRows(tables, spec, parsed.out.name, splits_by_time=by == "time")


def _spec(spec: ClickSpec, tables: list[Table], keys: list[str] | None, by: SplitBy) -> ClickSpec:
    """The old columns, without those of special meaning that no new file has, or none has a use for."""
    everywhere = [name for name in tables[0].columns if all(name in table.columns for table in tables)]
    for key in keys or ():
        find_column(everywhere, key, "--key", tables[0].file.name)

    def there(name: str | None) -> str | None:
        return name if name in everywhere else None

    chosen = tuple(dict.fromkeys(keys)) if keys is not None else tuple(key for key in spec.keys if key in everywhere)
    found = replace(
        spec,
        label=there(spec.label),
        weight=there(spec.weight),
        group=there(spec.group),
        time=spec.time if by == "time" else None,
        split_column=spec.split_column if by == "given" else None,
        keys=chosen,
    )
    left_out = [name for name in (spec.label, spec.weight, spec.group) if name and name not in everywhere]
    if left_out:
        print(f"not in every file, and left out: {', '.join(left_out)}")
    return found


if __name__ == "__main__":
    main()
