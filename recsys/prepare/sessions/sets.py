"""Named data sets: how each file is read, and the counts by which it is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from recsys.prepare.files.event_times import SECOND
from recsys.prepare.sessions.log import EventLog, ItemColumn, event_counts, exploded, read_file
from recsys.prepare.sessions.splits import SplitBy


@dataclass(frozen=True)
class NamedSet:
    """A data set of a known publisher.

    Args:
        read: the files of a folder -> its log, with times in seconds.
        counts: users, items and events that its log has, before anything is filtered.
        split: how it is split unless the user says otherwise.
        min_item_count: events an item must have unless the user says otherwise.
    """

    read: Callable[[Path], EventLog]
    counts: tuple[int, int, int]
    split: SplitBy = "leave-one-out"
    min_item_count: int = 1


def read_set(name: str, folder: Path) -> EventLog:
    """Read a named set, with times in microseconds, and check that it is what its name says.

    Raises:
        ValueError: a file is missing or has other columns, or the counts differ.
    """
    chosen = SETS[name]
    try:
        log = chosen.read(folder)
    except (pl.exceptions.PolarsError, ValueError) as error:
        problem = str(error).splitlines()[0].removesuffix(".")
        raise ValueError(f"--set {name}: '{folder}' does not hold the files of this set ({problem}).") from error
    found = event_counts(log.events)
    if found != chosen.counts:
        users, items, events = (f"{count:,}" for count in chosen.counts)
        raise ValueError(
            f"--set {name}: '{folder}' is not this set, which has {users} users, {items} items and {events} events; "
            f"found {found[0]:,}, {found[1]:,} and {found[2]:,}. Give its columns with --user and --item instead."
        )
    if "time" in log.events.columns:
        log = replace(log, events=log.events.with_columns(pl.col("time") * SECOND))
    return log


def _beauty(folder: Path) -> EventLog:
    text = folder / "Beauty.txt"
    if text.is_file():
        lines = pl.DataFrame({"line": text.read_text(encoding="utf-8").splitlines()})
        parts = lines.select(pl.col("line").str.strip_chars().str.split(" "))
        sequences = parts.select(user=pl.col("line").list.first(), items=pl.col("line").list.slice(1))
        return EventLog("s3rec-beauty", exploded(sequences, {"user": "user", "items": "item"}).cast(pl.Int64))
    sequences = read_file(folder / "sequences.parquet")
    attributes = read_file(folder / "item_attrs.parquet")
    return EventLog(
        "s3rec-beauty",
        exploded(sequences, {"user": "user", "items": "item"}),
        attributes,
        (ItemColumn("attrs", "multi_valued"),),
        texts=read_file(folder / "item_text.parquet").select("item", text="text_id"),
    )


def _movielens_1m(folder: Path) -> EventLog:
    if (folder / "ratings.dat").is_file():
        movies = _movies_dat(folder / "movies.dat")
        columns = (ItemColumn("genres", "multi_valued"), ItemColumn("year", "categorical"))
        texts = movies.select("item", text=pl.concat_str("title", pl.col("genres").list.join(" "), separator=" "))
        return EventLog("ml-1m", _ratings_dat(folder / "ratings.dat"), movies.drop("title"), columns, texts=texts)
    ratings = read_file(folder / "ratings.parquet").sort("user", "t_rank", maintain_order=True)
    movies = read_file(folder / "movies.parquet").with_columns(
        item=pl.col("item").cast(ratings["item"].dtype), genres=pl.col("genres").str.split("|")
    )
    words = pl.concat_str("title", "genres_text", "director", "actors", "plot", separator=" ", ignore_nulls=True)
    return EventLog(
        "ml-1m",
        ratings.select("user", "item"),
        movies.select("item", "genres", "year", "director"),
        (
            ItemColumn("genres", "multi_valued"),
            ItemColumn("year", "categorical"),
            ItemColumn("director", "categorical"),
        ),
        texts=movies.with_columns(genres_text=pl.col("genres").list.join(" ")).select("item", text=words),
        notes=("ratings.parquet holds ranks instead of times, so these sequences have no times",),
    )


def _ratings_dat(path: Path) -> pl.DataFrame:
    # "::" is read as two separators with an empty column between them.
    raw = pl.read_csv(path.read_bytes(), separator=":", has_header=False, infer_schema=False, quote_char=None)
    if len(raw.columns) != 7:
        raise ValueError(f"'{path}' must have lines of user::item::rating::time.")
    user, item, time = (raw.columns[place] for place in (0, 2, 6))
    return raw.select(user=user, item=item, time=time).cast(pl.Int64)


def _movies_dat(path: Path) -> pl.DataFrame:
    lines = pl.DataFrame({"line": _latin_lines(path)})
    fields = lines.select(pl.col("line").str.split_exact("::", 2).struct.rename_fields(["item", "title", "genres"]))
    return fields.unnest("line").select(
        pl.col("item").cast(pl.Int64),
        "title",
        pl.col("genres").str.split("|"),
        year=pl.col("title").str.extract(r"\((\d{4})\)$"),
    )


def _movielens_100k(folder: Path) -> EventLog:
    columns = (ItemColumn("genres", "multi_valued"), ItemColumn("year", "categorical"))
    if (folder / "u.data").is_file():
        names = ("user", "item", "rating", "time")
        raw = pl.read_csv(
            (folder / "u.data").read_bytes(), separator="\t", has_header=False, new_columns=names, infer_schema=False
        )
        return EventLog("ml-100k", raw.select("user", "item", "time").cast(pl.Int64), _u_item(folder), columns)
    ratings = read_file(folder / "ratings.parquet").select("user", "item", time=pl.col("ts").cast(pl.Int64))
    items = read_file(folder / "items.parquet").select(
        item=pl.col("item_id:token").cast(ratings["item"].dtype),
        genres=pl.col("class:token_seq").str.split(" "),
        year=pl.col("release_year:token"),
    )
    return EventLog("ml-100k", ratings, items, columns)


def _u_item(folder: Path) -> pl.DataFrame:
    """Genres and years of u.item: id|title|date|date|address|a flag for each genre of u.genre."""
    genres = [line.split("|")[0] for line in _latin_lines(folder / "u.genre") if line]
    rows = []
    for line in _latin_lines(folder / "u.item"):
        number, _, date, _, _, *flags = line.split("|")
        rows.append((int(number), [genre for genre, flag in zip(genres, flags, strict=True) if flag == "1"], date[-4:]))
    frame = pl.DataFrame(rows, schema={"item": pl.Int64, "genres": pl.List(pl.String), "year": pl.String}, orient="row")
    return frame.with_columns(pl.col("year").replace("", None))


def _latin_lines(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"'{path}' does not exist.")
    return path.read_text(encoding="latin-1").splitlines()


def _diginetica(folder: Path) -> EventLog:
    sessions = read_file(folder / "sessions.parquet").with_row_index("session")
    events = exploded(sessions, {"session": "user", "items": "item", "split": "split"})
    return EventLog("diginetica", events.cast({"split": pl.String}))


def _rees46(folder: Path) -> EventLog:
    sessions = read_file(folder / "sessions.parquet").with_row_index("session")
    names = {
        "session": "user",
        "sess_pid_seq": "item",
        "sess_etime_seq": "time",
        "sess_csid_seq": "category",
        "sess_ccid_seq": "parent_category",
        "sess_bid_seq": "brand",
        "sess_price_log_norm_seq": "price",
    }
    events = exploded(sessions, names).with_columns(pl.col("time").cast(pl.Int64))
    kept = ("category", "parent_category", "brand")
    price = pl.col("price").mean()
    metadata = events.group_by("item", maintain_order=True).agg(pl.col(kept).first(), price, fine_price=price)
    # Coarse prices say what is alike; fine ones tell items of one category and brand apart.
    prices = (ItemColumn("price", "bins"), ItemColumn("fine_price", "bins", 1000))
    columns = (*(ItemColumn(name, "categorical") for name in kept), *prices)
    return EventLog("rees46", events.select("user", "item", "time"), metadata, columns)


def _foursquare(folder: Path) -> EventLog:
    visits = read_file(folder / "checkins.parquet")
    events = visits.select("user", item="poi", time=pl.col("minute").cast(pl.Int64) * 60)
    places = read_file(folder / "pois.parquet").select(pl.col("poi").cast(pl.Int32).alias("item"), "lat", "lon")
    return EventLog("foursquare-nyc", events, places, (ItemColumn("lat", "dense"), ItemColumn("lon", "dense")))


def _scientific(folder: Path) -> EventLog:
    sequences = read_file(folder / "sequences.parquet")
    embedded = read_file(folder / "item_text_emb.parquet")
    vectors = np.stack(embedded["pca128"].to_list()).astype(np.float32)
    return EventLog(
        "amazon-scientific-unisrec",
        exploded(sequences, {"user": "user", "items": "item"}),
        vectors={"text": (embedded["item"], vectors)},
        texts=read_file(folder / "item_text.parquet").select("item", "text"),
    )


SETS = {
    "s3rec-beauty": NamedSet(_beauty, (22_363, 12_101, 198_502)),
    "ml-1m": NamedSet(_movielens_1m, (6_040, 3_706, 1_000_209), min_item_count=5),
    "ml-100k": NamedSet(_movielens_100k, (943, 1_682, 100_000)),
    "diginetica": NamedSet(_diginetica, (202_633, 43_097, 982_961), split="given"),
    "rees46": NamedSet(_rees46, (42_906, 41_878, 241_969), split="sequences"),
    "foursquare-nyc": NamedSet(_foursquare, (1_083, 5_135, 147_938)),
    "amazon-scientific-unisrec": NamedSet(_scientific, (8_442, 4_385, 59_384)),
}
