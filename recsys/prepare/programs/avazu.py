"""Prepare the Avazu click data (Kaggle 2014 ``train``, plain or gzip).

    python data_scripts/avazu.py --raw train.gz --out data/avazu --min-count 2
    python data_scripts/avazu.py --raw train.gz --out data/avazu --split random --seed 1

A line is comma-separated, under a header. All features are categorical. ``id`` is dropped; ``hour`` (YYMMDDHH) becomes
hour of the day (0-23), weekday (0 is Monday) and weekend (0 or 1). An empty field is missing, id 0; the publisher's own
marks for unknown values (-1 in C20, the most frequent device_id) are values like any other. The file holds ten days: by
day, the first eight train, the ninth validates, the tenth tests.
"""

from __future__ import annotations

import argparse

from recsys.prepare.clicks.avazu_rows import AvazuRows
from recsys.prepare.files.preparation_arguments import make_parser, make_rule, prepare_folder, raw_files
from recsys.prepare.files.run_program import run_program


def main(arguments: list[str] | None = None) -> None:
    """Run the script."""
    parser = make_parser("avazu", __doc__ or "", "train, plain or packed, or its parts", ("day", "random", "rows"))
    parsed = parser.parse_args(arguments)
    if parsed.raw is None:
        parser.error("give --raw FILE")
    run_program(lambda: _prepare(parsed))


def _prepare(parsed: argparse.Namespace) -> None:
    rule = make_rule(parsed, {"program": "avazu"})
    prepare_folder(AvazuRows(raw_files(parsed.raw, parsed.out)), rule, parsed.out, parsed.overwrite, parsed.config)


if __name__ == "__main__":
    main()
