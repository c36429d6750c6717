"""Parse MovieLens-1M's files: what movielens.py describes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from recsys.prepare.clicks.movielens_side import read_movie_genres, read_users
from recsys.prepare.clicks.raw_dataset import Beside, Feature, KeyBag, ParsedBlock, Rows
from recsys.prepare.clicks.raw_keys import Keys, LongValues, keys_of
from recsys.prepare.files.bad_lines import LineReport
from recsys.prepare.files.raw_files import RawBlock, RawFile
from recsys.prepare.files.raw_frames import Layout, RowChecks, in_line_order, read_frame

RATINGS = Layout(b"::", ("user", "item", "rating", "timestamp"), frozenset(("rating", "timestamp")))
FIELDS = ("user", "item", "gender", "age", "occupation", "zip")
SECONDS_PER_DAY = 86_400
NEUTRAL = 3


class MovieLensRows:
    """The three files in ``folder``; ``genres`` adds the multi-valued feature of that name."""

    name = "movielens-1m"

    def __init__(self, folder: Path, genres: bool) -> None:
        self.main_files = [RawFile(folder / "ratings.dat")]
        self.beside = Beside()
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

    def blocks(self) -> Iterator[RawBlock]:
        """Yield whole lines of ratings.dat."""
        yield from self.main_files[0].blocks()

    def parse(self, block: RawBlock) -> ParsedBlock:
        """Parse whole lines of ratings.dat."""
        lines, bad = read_frame(block, RATINGS)
        checks = RowChecks(lines)
        ratings = lines.frame["rating"].fill_null(0).to_numpy()
        checks.reject("rating", (ratings < 1) | (ratings > 5), "not a rating from 1 to 5")
        checks.reject("timestamp", lines.frame["timestamp"].is_null(), "not a time in seconds")
        user_keys, item_keys = (keys_of(lines.frame[name], self.long_values) for name in ("user", "item"))
        places, known = self.users.find(user_keys)
        checks.reject("user", ~known, f"which is not in {self.users_file.name}")
        rows = Rows(
            labels=(ratings > NEUTRAL).astype(np.uint8),
            dense=(),
            keys=(user_keys, item_keys, *(column[places] for column in self.users.columns)),
            bags=self._genres_of(item_keys, checks),
            days=(lines.frame["timestamp"].fill_null(0) // SECONDS_PER_DAY).to_numpy().astype(np.int32),
        )
        good, neutral = checks.keep(), ratings == NEUTRAL
        dropped = Counter({f"rating {NEUTRAL}": int(np.count_nonzero(good & neutral))})
        return ParsedBlock(rows.select(good & ~neutral), in_line_order(bad, checks.bad_lines()), dropped)

    def _genres_of(self, items: Keys, checks: RowChecks) -> tuple[KeyBag, ...]:
        if self.genres is None or self.movies_file is None:
            return ()
        bag, known = self.genres.find(items)
        checks.reject("item", ~known, f"which is not in {self.movies_file.name}")
        return (bag,)
