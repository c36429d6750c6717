"""Event logs to sequences: against slow rules, on files made here and on the real ones."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from recsys.prepare.programs import sessions
from recsys.prepare.sessions.text_vectors import text_vectors

LOG = [  # user, item, time, brand, tags
    ("u", "a", 100, "x", "r|s"),
    ("v", "b", 50, "y", ""),
    ("u", "b", 90, "y", ""),
    ("u", "c", 100, "x", "s"),
    ("v", "a", 60, "x", "r|s"),
    ("u", "d", 5_000, "", "t"),
    ("v", "c", 70, "x", "s"),
    ("v", "a", 4_000, "x", "r|s"),
]
COLUMNS = ["--user", "who", "--item", "what", "--time", "when"]


def write_log(folder: Path, rows=LOG) -> Path:
    path = folder / "log.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("who", "what", "when", "brand", "tags"), *rows])
    return path


def run(tmp_path: Path, *options: str, log: Path | None = None) -> Path:
    out = tmp_path / "out"
    sessions.main(["--raw", str(log or write_log(tmp_path)), "--out", str(out), "--overwrite", *COLUMNS, *options])
    return out


def rows_of(folder: Path, split: str) -> list[tuple[str, str]]:
    """History and target, as the log's own names."""
    names = pq.read_table(folder / "vocabulary" / "item.parquet")["value"].to_pylist()
    rows = pq.read_table(folder / split).to_pylist()
    targets = [names[row["target"] - 1] if "target" in row else "" for row in rows]
    histories = ["".join(names[item - 1] for item in row["items"]) for row in rows]
    return list(zip(histories, targets, strict=True))


def test_leave_one_out_in_order_of_time_and_rows(tmp_path, capsys):
    folder = run(tmp_path)
    assert rows_of(folder, "train") == [("ba", ""), ("ba", "")]
    assert rows_of(folder, "val") == [("ba", "c"), ("ba", "c")]
    assert rows_of(folder, "test") == [("bac", "d"), ("bac", "a")]
    printed = capsys.readouterr().out
    assert "read: 2 users, 4 items, 8 events" in printed
    assert "test: 2 rows, 6 events, 2 targets, 1 of them items never trained on" in printed
    schema = json.loads((folder / "schema.json").read_text())
    assert (schema["num_items"], schema["num_users"], schema["num_events"], schema["has_times"]) == (4, 2, 8, True)
    assert pq.read_table(folder / "counts" / "item.parquet")["count"].to_pylist() == [0, 2, 2, 0, 0]
    assert pq.read_table(folder / "test")["times"].to_pylist()[0] == [90, 100, 100]


def test_sessions_cut_by_gap_share_their_user(tmp_path):
    folder = run(tmp_path, "--gap-minutes", "10")
    assert rows_of(folder, "train") == [("b", ""), ("d", ""), ("b", ""), ("a", "")]
    assert rows_of(folder, "test") == [("ba", "c"), ("ba", "c")]
    assert pq.read_table(folder / "train")["user"].to_pylist() == [0, 0, 1, 1]
    schema = json.loads((folder / "schema.json").read_text())
    assert (schema["num_users"], schema["num_sequences"]) == (2, 4)
    assert len(rows_of(run(tmp_path, "--gap-minutes", "10", "--min-length", "2"), "train")) == 2


def test_vocabularies_name_users_and_items(tmp_path):
    folder = run(tmp_path)
    users, items = (
        dict(zip(*pq.read_table(folder / "vocabulary" / f"{name}.parquet").to_pydict().values(), strict=True))
        for name in ("user", "item")
    )
    named = {users[row["user"]]: items[row["target"]] for row in pq.read_table(folder / "test").to_pylist()}
    assert named == {"u": "d", "v": "a"}


def test_item_columns(tmp_path):
    folder = run(tmp_path, "--item-columns", "brand", "tags:multi_valued", "when:bins")
    items = pq.read_table(folder / "items.parquet").to_pylist()
    names = pq.read_table(folder / "vocabulary" / "item.parquet")["value"].to_pylist()
    by_name = dict(zip(names, items[1:], strict=True))
    brands = pq.read_table(folder / "vocabulary" / "brand.parquet")["value"].to_pylist()
    assert brands == ["x", "y"]
    assert {name: row["brand"] for name, row in by_name.items()} == {"a": 1, "b": 2, "c": 1, "d": 0}
    tags = ["", *pq.read_table(folder / "vocabulary" / "tags.parquet")["value"].to_pylist()]
    assert {name: [tags[i] for i in row["tags"]] for name, row in by_name.items()} == {
        **{"a": ["r", "s"], "b": [], "c": ["s"], "d": ["t"]},
    }
    assert items[0]["brand"] == 0
    assert items[0]["tags"] == []
    entries = {entry["name"]: entry for entry in json.loads((folder / "schema.json").read_text())["item_columns"]}
    assert entries["brand"] == {"name": "brand", "kind": "categorical", "num_embeddings": 3}
    assert entries["tags"] == {"name": "tags", "kind": "multi_valued", "num_embeddings": 4}
    assert entries["when"]["kind"] == "categorical"
    assert max(row["when"] for row in by_name.values()) < entries["when"]["num_embeddings"]


@pytest.mark.parametrize("number", [2, 10, 50])
def test_as_many_bins_as_asked_for(tmp_path, number):
    lines = [f"u{item % 7},i{item},{item},{item * item}" for item in range(100)]
    (tmp_path / "many.csv").write_text("\n".join(["who,what,when,price", *lines]))
    folder = run(tmp_path, "--item-columns", f"price:bins:{number}", log=tmp_path / "many.csv")
    names = pq.read_table(folder / "vocabulary" / "item.parquet")["value"].to_pylist()
    bins = pq.read_table(folder / "items.parquet")["price"].to_pylist()
    found = {int(name[1:]): place for name, place in zip(names, bins[1:], strict=True)}
    assert found == {item: 1 + item * number // 100 for item in range(100)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--time", "wen"], "--time: .* has no column 'wen'; did you mean 'when'"),
        (
            ["--item-columns", "brand:word"],
            "KIND must be one of categorical, multi_valued, dense, bins, text, vector, got 'word'",
        ),
        (["--item-columns", "when:bins:1"], "item column 'when': bins must be at least 2, got 1"),
        (["--item-columns", "when:bins:few"], "only bins take a number, as in when:bins:100"),
        (["--item-columns", "brand:categorical:3"], "only bins take a number"),
        (["--item-columns", "brand:dense"], "column 'brand' holds 'x', not a number"),
        (["--gap-minutes", "0"], "--gap-minutes must be above 0 and finite, got 0.0"),
        (["--min-item-count", "9"], "no event is left with --min-item-count 9"),
        (["--split", "given"], "this log has no split of its own; name its column"),
        (["--split", "time", "--targets", "every", "--val-fraction", ".9"], "must be above 0 and below 1 together"),
        (["--targets", "every"], "leave-one-out has one target a sequence"),
        (["--text-dim", "2"], "--text-dim needs texts of items; name their columns, as in --item-columns title:text"),
        (["--min-length", "5", "--set", "ml-1m"], "--user does not go with --set ml-1m"),
    ],
)
def test_mistakes_of_the_user(tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        run(tmp_path, *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("u", "", 7, "x", ""), "log.csv, line 10: column 'what' holds '', no item"),
        (("", "a", 7, "x", ""), "log.csv, line 10: column 'who' holds '', no user"),
        (("u", "a", "noon", "x", ""), "log.csv, line 10: column 'when' holds 'noon', not a time"),
    ],
)
def test_bad_rows_stop_or_are_skipped_and_counted(tmp_path, capsys, row, message):
    log = write_log(tmp_path, [*LOG, row])
    with pytest.raises(SystemExit, match=message):
        run(tmp_path, log=log)
    assert rows_of(run(tmp_path, "--on-bad-line", "skip", log=log), "test") == [("bac", "d"), ("bac", "a")]
    assert "9 rows read, 1 bad rows skipped" in capsys.readouterr().out


def test_times_that_are_none(tmp_path):
    log = write_log(tmp_path, [("u", "a", "noon", "", ""), ("u", "b", "dusk", "", "")])
    with pytest.raises(SystemExit, match="line 2: column 'when' holds 'noon', not a time"):
        run(tmp_path, log=log)


def test_a_file_that_is_no_table(tmp_path):
    (tmp_path / "log.parquet").write_text("who,what\n")
    with pytest.raises(SystemExit, match=r"log\.parquet' is no parquet file, or a damaged one"):
        run(tmp_path, log=tmp_path / "log.parquet")
    with pytest.raises(SystemExit, match=r"none\.csv' does not exist"):
        run(tmp_path, log=tmp_path / "none.csv")


@pytest.mark.parametrize("times", [["2020-01-02T00:00:05", "2020-01-02", "2020-01-01"], ["9.7", "8", "7"]])
def test_times_as_texts(tmp_path, times):
    rows = [("u", item, time, "", "") for item, time in zip("abc", times, strict=True)]
    folder = run(tmp_path, log=write_log(tmp_path, rows))
    assert rows_of(folder, "test") == [("cb", "a")]


def test_same_log_same_bytes(tmp_path):
    def files():
        folder = run(tmp_path)
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert files() == files()


def test_the_checksum_tells_times_items_and_splits_apart(tmp_path):
    def checksum(rows, *options):
        folder = run(tmp_path, *options, log=write_log(tmp_path, rows))
        return json.loads((folder / "schema.json").read_text())["checksum"]

    later = [("v", "a", 4_001, *row[3:]) if row[2] == 4_000 else row for row in LOG]
    renamed = [(row[0], row[1].replace("d", "e"), *row[2:]) for row in LOG]
    by_time = ["--split", "time", "--val-fraction", "0.3", "--test-fraction", "0.3"]
    found = [checksum(LOG), checksum(LOG), checksum(later), checksum(renamed), checksum(LOG, *by_time)]
    assert found[0] == found[1]
    assert len(set(found)) == len(found) - 1


def test_texts_alike_are_near_each_other():
    texts = pl.Series(["red nail lacquer", "blue nail lacquer", "hair spray", "hair spray strong", None, "unique"])
    vectors = text_vectors(texts, 2)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.9
    assert cosines[2, 3] > 0.9
    assert abs(cosines[0, 2]) < 0.1
    assert not vectors[4:].any()
    with pytest.raises(ValueError, match=r"must be in \[1, 4\]"):
        text_vectors(texts, 5)


REAL = {  # users, items, events after filtering; rows of val and test
    "s3rec-beauty": (22_363, 12_101, 198_502, 22_363, 22_363),
    "ml-1m": (6_040, 3_416, 999_611, 6_040, 6_040),
    "ml-100k": (943, 1_682, 100_000, 943, 943),
    "diginetica": (202_633, 43_097, 982_961, None, 60_858),
    "rees46": (42_906, 41_878, 241_969, None, None),
    "foursquare-nyc": (1_083, 5_135, 147_938, 1_083, 1_083),
    "amazon-scientific-unisrec": (8_442, 4_385, 59_384, 8_442, 8_442),
}


@pytest.mark.parametrize("name", REAL)
def test_published_counts(name, tmp_path, shared_data):
    sessions.main(["--set", name, "--raw", str(shared_data / name), "--out", str(tmp_path / "out")])
    schema = json.loads((tmp_path / "out" / "schema.json").read_text())
    users, items, events, val, test = REAL[name]
    assert (schema["num_users"], schema["num_items"], schema["num_events"]) == (users, items, events)
    assert val in (None, schema["splits"]["val"]["num_rows"])
    assert test in (None, schema["splits"]["test"]["num_rows"])


def test_diginetica_has_the_published_prefixes(tmp_path, shared_data):
    command = ["--set", "diginetica", "--raw", str(shared_data / "diginetica"), "--out", str(tmp_path / "out")]
    sessions.main([*command, "--val-fraction", "0.05"])
    splits = json.loads((tmp_path / "out" / "schema.json").read_text())["splits"]
    train = splits["train"]["num_events"] - splits["train"]["num_rows"]
    assert train + splits["val"]["num_targets"] == 719_470
    assert splits["test"]["num_targets"] == 60_858


def test_movielens_as_published(tmp_path, shared_data):
    """The publisher's three files, with a time made of each rank; ties keep the file's order."""
    ratings = pl.read_parquet(shared_data / "ml-1m" / "ratings.parquet").sort("orig_pos", maintain_order=True)
    lines = ratings.select(pl.concat_str("user", "item", "rating", pl.col("t_rank") // 2, separator="::"))
    lines.write_csv(tmp_path / "ratings.dat", include_header=False, quote_style="never")
    movies = pl.read_parquet(shared_data / "ml-1m" / "movies.parquet")
    text = "\n".join(movies.select(pl.concat_str("item", "title", "genres", separator="::")).to_series().to_list())
    (tmp_path / "movies.dat").write_text(text, encoding="latin-1")
    sessions.main(["--set", "ml-1m", "--raw", str(tmp_path), "--out", str(tmp_path / "out"), "--split", "time"])
    schema = json.loads((tmp_path / "out" / "schema.json").read_text())
    assert (schema["num_items"], schema["num_events"], schema["has_times"]) == (3_416, 999_611, True)
    columns = {entry["name"]: entry["num_embeddings"] for entry in schema["item_columns"]}
    assert columns["genres"] == 19
    assert columns["year"] > 60


def test_a_namesake_is_refused(tmp_path):
    (tmp_path / "Beauty.txt").write_text("1 1 2 3\n2 2 3\n")
    with pytest.raises(SystemExit, match=r"not this set, which has 22,363 users, 12,101 items .*; found 2, 3 and 5"):
        sessions.main(["--set", "s3rec-beauty", "--raw", str(tmp_path), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
