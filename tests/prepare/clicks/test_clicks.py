"""Anybody's log of clicks: every kind of file gives the same rows, and what cannot be meant is refused."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.prepare.programs import clicks

COLUMNS = ["click", "user", "price", "tags", "w", "at", "row"]
OPTIONS = [
    *("--label", "click", "--categorical", "user", "--dense", "price:none", "--lists", "tags:|", "--weight", "w"),
    *("--group", "user", "--key", "row", "--min-count", "2"),
]


def rows_of(num_rows: int) -> list[dict]:
    draw = random.Random(0)
    users = ["007", "7", "a,b", 'say "no"', "two\nlines", "a user of many bytes", "é", "", "NA"]
    return [
        {
            "click": draw.choice("01"),
            "user": draw.choice(users),
            "price": draw.choice(["", "1.5", "-3", "2e3"]),
            "tags": draw.choice(["", "x", "x|y", "y||z", "x|x"]),
            "w": draw.choice(["1", "0.5", "0"]),
            "at": str(1_600_000_000 + draw.randrange(50)),
            "row": f"row{number}",
        }
        for number in range(num_rows)
    ]


def prepare(out: Path, *words: object) -> dict:
    clicks.main([*map(str, words), "--out", str(out)])
    return json.loads((out / "schema.json").read_text())


def csv_text(rows: list[dict], separator: str = ",", header: bool = True) -> str:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in (separator, '"', "\n")) else text

    lines = [separator.join(cell(row[name]) for name in COLUMNS) for row in rows]
    return "\n".join([separator.join(COLUMNS)] * header + lines) + "\n"


def write(folder: Path, rows: list[dict], kind: str) -> list[object]:
    """Files of a kind, and the options that they need."""
    half = len(rows) // 2
    if kind == "csv":
        (folder / "log.csv").write_text(csv_text(rows))
        return [folder / "log.csv"]
    if kind == "semicolons, packed, with a mark of UTF-8":
        (folder / "log.csv").write_bytes(gzip.compress(b"\xef\xbb\xbf" + csv_text(rows, ";").encode()))
        return [folder / "log.csv"]
    if kind == "no header, zstd":
        (folder / "log").write_bytes(pa.compress(csv_text(rows, "\t", header=False).encode(), "zstd", asbytes=True))
        return [folder / "log", "--columns", *COLUMNS, "--separator", "tab"]
    if kind == "json lines":
        lines = []
        for row in rows:
            record = {name: value or None for name, value in row.items()} | {"tags": row["tags"].split("|")}
            lines.append(json.dumps(record | {"click": row["click"] == "1", "w": float(row["w"])}))
        (folder / "log.jsonl").write_text("\n".join(lines))
        return [folder / "log.jsonl"]
    typed = pl.DataFrame(rows).with_columns(
        pl.col("click").cast(pl.Int8),
        pl.col("price").replace("", None).cast(pl.Float32),
        pl.col("w").cast(pl.Float64),
        pl.col("user").cast(pl.Categorical),
        pl.col("tags").str.split("|"),
    )
    if kind == "a folder of parts":
        (folder / "log[1]*").mkdir()
        (folder / "log[1]*" / "_SUCCESS").write_text("")
        typed[:half].write_parquet(folder / "log[1]*" / "part-2.parquet")
        typed[half:].write_parquet(folder / "log[1]*" / "part-10.parquet")
        return [folder / "log[1]*"]
    typed[:half].write_ipc(folder / "first.arrow", compression="lz4")
    (folder / "second.csv").write_text(csv_text(rows[half:]))
    return [folder / "first.arrow", folder / "second.csv"]


KINDS = [
    *("csv", "semicolons, packed, with a mark of UTF-8", "no header, zstd", "json lines", "a folder of parts"),
    "arrow and csv",
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_against_a_slow_oracle(tmp_path, kind, open_prepared, monkeypatch):
    monkeypatch.setattr("recsys.prepare.files.arrow_table.BATCH_ROWS", 37)
    rows = rows_of(200)
    files = write(tmp_path, rows, kind)
    schema = prepare(tmp_path / "out", *files, *OPTIONS, "--split", "rows", "--fractions", 0.5, 0.3, 0.2)
    folder = open_prepared(tmp_path / "out")
    splits = {"train": rows[:100], "val": rows[100:160], "test": rows[160:]}
    counts = Counter(row["user"] for row in splits["train"])
    kept = {user for user, count in counts.items() if count >= 2 and user}
    ids = folder.vocabulary("user")
    assert set(ids) == kept
    in_order = sorted(kept, key=lambda user: (-counts[user], user.encode()))
    assert [ids[user] for user in in_order] == list(range(1, len(kept) + 1))
    tags = Counter(tag for row in splits["train"] for tag in row["tags"].split("|") if tag)
    tag_ids, groups = folder.vocabulary("tags"), folder.vocabulary("group")
    assert set(tag_ids) == {tag for tag, count in tags.items() if count >= 2}
    assert set(groups) == {row["user"] for row in rows} - {""}
    for split, own in splits.items():
        assert folder.column(split, "label") == [int(row["click"]) for row in own]
        assert folder.column(split, "user") == [ids.get(row["user"], 0) for row in own]
        assert folder.column(split, "group") == [groups.get(row["user"], 0) for row in own]
        assert folder.column(split, "price") == [float(row["price"] or 0) for row in own]
        assert folder.column(split, "tags") == [
            [tag_ids.get(tag, 0) for tag in row["tags"].split("|") if tag] for row in own
        ]
        assert folder.column(split, "weight") == [float(row["w"]) for row in own]
        assert folder.column(split, "row") == [row["row"] for row in own]
    assert schema["weight"] == "weight"
    assert schema["group"] == "group"
    assert schema["keys"] == ["row"]
    price = next(entry for entry in schema["features"] if entry["name"] == "price")
    seen = [float(row["price"]) for row in splits["train"] if row["price"]]
    num_missing = sum(row["price"] == "" for row in rows)
    assert price["transform"] == {"kind": "none", "seen": [min(seen), max(seen)], "num_missing": num_missing}


@pytest.mark.parametrize("transform", ["log", "standardise", "bins:4", "none"])
def test_numbers_are_fitted_on_train(tmp_path, transform):
    draw = np.random.default_rng(0)
    numbers = np.round(draw.normal(5, 100, 300), 3)
    numbers[::7] = np.nan
    texts = ["" if np.isnan(number) else repr(float(number)) for number in numbers]
    (tmp_path / "log.csv").write_text("y,x\n" + "".join(f"{place % 2},{text}\n" for place, text in enumerate(texts)))
    schema = prepare(
        tmp_path / "out", tmp_path / "log.csv", "--label", "y", "--dense", f"x:{transform}", "--split", "rows"
    )
    found = np.concatenate(
        [pq.read_table(tmp_path / "out" / split)["x"].to_numpy() for split in ("train", "val", "test")]
    )
    train = numbers[:240][~np.isnan(numbers[:240])]
    if transform == "bins:4":
        bounds = np.sort(train)[(np.arange(1, 4) * (len(train) - 1)) // 4]
        expected = [0 if np.isnan(number) else 1 + sum(number >= bound for bound in bounds) for number in numbers]
        assert found.tolist() == expected
        assert schema["features"][0]["num_embeddings"] == 5
        counts = pq.read_table(tmp_path / "out" / "counts" / "x.parquet")["count"].to_pylist()
        assert counts == np.bincount(expected[:240], minlength=5).tolist()
        return
    expected = {
        "log": np.sign(numbers) * np.log(1 + np.abs(numbers)),
        "standardise": (numbers - train.mean()) / train.std(),
        "none": numbers,
    }[transform]
    np.testing.assert_allclose(found, np.nan_to_num(expected), rtol=1e-6)


@pytest.mark.parametrize("number", ["0.1", "3e38", "-1e18"])
def test_a_column_of_one_number_is_0(tmp_path, number):
    """Its mean would round by more than 1 where the number is large."""
    (tmp_path / "log.csv").write_text("y,x\n" + "".join(f"{place % 2},{number}\n" for place in range(60)))
    prepare(tmp_path / "out", tmp_path / "log.csv", "--label", "y", "--dense", "x", "--split", "rows")
    assert set(pq.read_table(tmp_path / "out" / "train")["x"].to_pylist()) == {0.0}


def test_times_split_to_the_row_and_ties_stay_together(tmp_path, open_prepared):
    times = random.Random(0).sample(range(100), 100)
    (tmp_path / "log.csv").write_text("y,x,at\n" + "".join(f"1,{t},{1_600_000_000 + t}\n" for t in times))
    command = [tmp_path / "log.csv", "--label", "y", "--categorical", "x", "--time", "at", "--key", "at"]
    prepare(tmp_path / "out", *command, "--min-count", 1)
    folder = open_prepared(tmp_path / "out")
    latest = 1_600_000_000 - 1
    for split, num_rows in {"train": 80, "val": 10, "test": 10}.items():
        found = sorted(map(int, folder.column(split, "at")))
        assert found == list(range(latest + 1, latest + 1 + num_rows))
        latest = found[-1]
    (tmp_path / "one.csv").write_text("y,x,at\n" + "1,2,2020-01-01\n" * 10)
    with pytest.raises(SystemExit, match="no row is left for val and test: of 10 rows too few are later"):
        prepare(tmp_path / "one", tmp_path / "one.csv", *command[1:5], "--time", "at")


def test_a_given_split(tmp_path, open_prepared):
    words = ["train", "Valid", "test", "validation", "train"]
    (tmp_path / "log.csv").write_text("y,x,fold\n" + "".join(f"1,{place},{word}\n" for place, word in enumerate(words)))
    command = [tmp_path / "log.csv", "--label", "y", "--categorical", "*", "--split", "given:fold", "--key", "fold"]
    prepare(tmp_path / "out", *command, "--min-count", 1)
    folder = open_prepared(tmp_path / "out")
    assert [folder.column(split, "fold") for split in ("train", "val", "test")] == [
        *(["train", "train"], ["Valid", "validation"], ["test"]),
    ]
    (tmp_path / "log.csv").write_text("y,x,fold\n1,2,holdout\n")
    with pytest.raises(SystemExit, match=r"line 2: column 'fold' holds 'holdout', none of train, val"):
        prepare(tmp_path / "other", *command)


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        (["--positive-from", "4"], [0, 0, 1, 1]),
        (["--positive", "5", "1"], [1, 0, 0, 1]),
    ],
)
def test_labels_that_are_not_0_and_1(tmp_path, open_prepared, options, labels):
    (tmp_path / "log.csv").write_text("rating,x\n1,a\n3,b\n4,a\n5,b\n")
    command = [tmp_path / "log.csv", "--label", "rating", "--categorical", "x", "--fractions", 1, 0, 0]
    with pytest.raises(SystemExit, match=r"line 3: column 'rating' holds '3', not 0 or 1 \(see --positive"):
        prepare(tmp_path / "out", *command)
    prepare(tmp_path / "out", *command, *options)
    assert open_prepared(tmp_path / "out").column("train", "label") == labels


def test_values_of_all_types_are_told_apart(tmp_path, open_prepared):
    frame = pl.DataFrame(
        {
            "y": [True, False, True, None],
            "whole": [7.0, 8.0, None, 7.0],
            "half": [0.5, float("nan"), 7.0, 1e15],
            "text": ["7", "007", "a\0", "a"],
            "number": [7, 2**53 + 1, 2**53, -1],
        }
    )
    frame[:3].write_parquet(tmp_path / "log.parquet")
    command = ["--label", "y", "--categorical", "*", "--min-count", 1, "--fractions", 1, 0, 0]
    prepare(tmp_path / "out", tmp_path / "log.parquet", *command)
    folder = open_prepared(tmp_path / "out")
    assert set(folder.vocabulary("whole")) == {"7", "8"}
    assert set(folder.vocabulary("half")) == {"0.5", "7"}
    assert set(folder.vocabulary("text")) == {"7", "007", "a\0"}
    assert set(folder.vocabulary("number")) == {"7", str(2**53 + 1), str(2**53)}
    frame.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(SystemExit, match="line 4: column 'y' holds '', not 0 or 1"):
        prepare(tmp_path / "other", tmp_path / "log.parquet", *command)
    frame[:3].with_columns(half=pl.Series([2.0**53, 1.0, 2.0])).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(SystemExit, match=r"column 'half' holds 9007199254740992\.0, a float of 2\*\*53 or more"):
        prepare(tmp_path / "other", tmp_path / "log.parquet", *command)


def test_files_are_read_as_they_are_named(tmp_path, open_prepared):
    for name, user in (("log[1].csv", "mine"), ("log1.csv", "another's")):
        (tmp_path / name).write_text(f"click,user\n1,{user}\n0,{user}\n")
    options = ["--label", "click", "--categorical", "user", "--fractions", 1, 0, 0]
    prepare(tmp_path / "out", tmp_path / "log[1].csv", *options)
    assert set(open_prepared(tmp_path / "out").vocabulary("user")) == {"mine"}
    with pytest.raises(SystemExit, match="is named twice; give each file once"):
        prepare(tmp_path / "two", tmp_path / "log1.csv", tmp_path / "log1.csv", *options)
    (tmp_path / "none").mkdir()
    with pytest.raises(SystemExit, match=r"folder .*none. has no files"):
        prepare(tmp_path / "two", tmp_path / "none", *options)


def test_keys_that_files_hold_in_several_types_become_texts(tmp_path, open_prepared):
    (tmp_path / "first.csv").write_text("click,user,key\n1,a,007\n0,b,\n")
    pl.DataFrame({"click": [1], "user": ["a"], "key": [7]}).write_parquet(tmp_path / "second.parquet")
    command = [tmp_path / "first.csv", tmp_path / "second.parquet", "--label", "click", "--categorical", "user"]
    prepare(tmp_path / "out", *command, "--key", "key", "--fractions", 1, 0, 0)
    assert open_prepared(tmp_path / "out").column("train", "key") == ["007", None, "7"]
