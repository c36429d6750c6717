"""Prepare MovieLens-1M (ratings.dat, users.dat, movies.dat) as click prediction.

    python data_scripts/movielens.py --raw ml-1m --out data/ml-1m
    python data_scripts/movielens.py --raw ml-1m --out data/ml-1m-genres --genres

Ratings 4 and 5 are label 1, ratings 1 and 2 label 0, and ratings of 3 are dropped (and counted): 739,012 rows. Six
categorical fields: user, item, gender, age, occupation, zip. These rows have 13,177 distinct values in the six fields,
the published count, which the report prints; id 0 of each field and values that only val or test have are apart.
--genres adds the genres of the movie as a multi-valued feature with mean pooling.
"""

from __future__ import annotations

import argparse

from recsys.prepare.clicks.movielens_rows import MovieLensRows
from recsys.prepare.files.preparation_arguments import make_parser, make_rule, prepare_folder
from recsys.prepare.files.run_program import run_program


def main(arguments: list[str] | None = None) -> None:
    """Run the script."""
    raw_help = "the folder with ratings.dat, users.dat and movies.dat"
    parser = make_parser("movielens", __doc__ or "", raw_help, ("random", "rows", "day"))
    parser.add_argument("--genres", action="store_true", help="add the multi-valued feature genres from movies.dat")
    parsed = parser.parse_args(arguments)
    if parsed.raw is None or len(parsed.raw) > 1:
        parser.error("give --raw FOLDER")
    run_program(lambda: _prepare(parsed))


def _prepare(parsed: argparse.Namespace) -> None:
    rule = make_rule(parsed, {"program": "movielens", "genres": parsed.genres})
    prepare_folder(MovieLensRows(parsed.raw[0], parsed.genres), rule, parsed.out, parsed.overwrite, parsed.config)


if __name__ == "__main__":
    main()
