"""Parse MovieLens-1M's files: what movielens.py describes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from bad_lines import BadLine, LineReport
from movielens_side import read_movie_genres, read_users
from raw_dataset import Feature, KeyBag, ParsedBlock, Rows
from raw_fields import Layout, RowChecks, split_fields
from raw_files import RawBlock, RawFile
from raw_values import Keys, LongValues, categorical, whole_numbers

RATINGS = Layout(b"::", ("user", "item", "rating", "timestamp"))
FIELDS = ("user", "item", "gender", "age", "occupation", "zip")
SECONDS_PER_DAY = 86_400
NEUTRAL = 3


class MovieLensRows:
    """The three files in ``folder``; ``genres`` adds the multi-valued feature of that name."""

    name = "movielens-1m"

    def __init__(self, folder: Path, genres: bool) -> None:
        self.main_file = RawFile(folder / "ratings.dat")
        self.users_file = RawFile(folder / "users.dat")
        self.movies_file = RawFile(folder / "movies.dat") if genres else None
        self.side_files = [file for file in (self.users_file, self.movies_file) if file is not None]
        self.long_values = LongValues()
        self.features = [Feature(name, "categorical") for name in FIELDS]
        if genres:
            self.features.append(Feature("genres", "multi_valued", "mean"))

    def read_side_files(self, report: LineReport) -> None:
        """Read users.dat, and movies.dat for the genres."""
        self.users = read_users(self.users_file, report, self.long_values)
        self.genres = None
        if self.movies_file is not None:
            self.genres = read_movie_genres(self.movies_file, report, self.long_values)

    def parse(self, block: RawBlock) -> ParsedBlock:
        """Parse whole lines of ratings.dat."""
        fields, bad = split_fields(block, RATINGS)
        numbers = whole_numbers(fields, slice(2, 4))
        checks = RowChecks(fields)
        ratings, times = numbers.values
        checks.reject_field(numbers.bad[0] | (ratings < 1) | (ratings > 5), 2, "not a rating from 1 to 5")
        checks.reject_field(numbers.bad[1] | numbers.missing[1], 3, "not a time in seconds")
        keys = categorical(fields, slice(0, 2), self.long_values)
        user_places, known = self.users.find(keys[0])
        checks.reject_field(~known, 0, f"which is not in {self.users_file.path.name}")
        bags = self._genres_of(keys[1], checks)
        profile = self.users.columns[:, user_places]
        rows = Rows(
            labels=(ratings > NEUTRAL).astype(np.uint8),
            dense=np.empty((0, fields.num_rows), dtype=np.float32),
            keys=np.concatenate([keys, profile]),
            bags=bags,
            days=(times // SECONDS_PER_DAY).astype(np.int32),
        )
        return _without_neutral(rows, ratings == NEUTRAL, bad, checks)

    def _genres_of(self, items: Keys, checks: RowChecks) -> tuple[KeyBag, ...]:
        if self.genres is None or self.movies_file is None:
            return ()
        bag, known = self.genres.find(items)
        checks.reject_field(~known, 1, f"which is not in {self.movies_file.path.name}")
        return (bag,)


def _without_neutral(rows: Rows, neutral: np.ndarray, bad: list[BadLine], checks: RowChecks) -> ParsedBlock:
    good = checks.keep()
    dropped = Counter({f"rating {NEUTRAL}": int(np.count_nonzero(neutral & good))})
    return ParsedBlock(
        rows.select(good & ~neutral), sorted([*bad, *checks.bad_lines()], key=lambda line: line.line), dropped
    )
