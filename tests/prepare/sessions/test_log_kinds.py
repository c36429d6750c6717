"""Logs as publishers and others write them: layouts, lists, given splits, items called otherwise, no times."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from recsys.prepare.programs import sessions
from recsys.prepare.sessions.layouts import LAYOUTS


def run(tmp_path: Path, raw: object, *options: str) -> Path:
    files = raw if isinstance(raw, list) else [raw]
    sessions.main(["--raw", *map(str, files), "--out", str(tmp_path / "out"), "--overwrite", *options])
    return tmp_path / "out"


def sequences_of(folder: Path, split: str = "test") -> list[tuple[list[str], list[int] | None]]:
    """Names of the items of each row, its target last, and the times."""
    names = list(map(str, pq.read_table(folder / "vocabulary" / "item.parquet")["value"].to_pylist()))
    return [
        ([names[item - 1] for item in [*row["items"], *([row["target"]] if "target" in row else [])]], row.get("times"))
        for row in pq.read_table(folder / split).to_pylist()
    ]


FILES = {
    "movielens-100k": "{u}\t{i}\t5\t{t}",
    "movielens-1m": "{u}::{i}::5::{t}",
    "movielens-csv": "userId,movieId,rating,timestamp\n{u},{i},3.5,{t}",
    "yoochoose": "{u},{iso}.277Z,{i},0",
    "recbole": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n{u}\t{i}\t1.0\t{t}",
    "amazon-2018": '{{"reviewerID": "{u}", "asin": "{i}", "helpful": [0, {{}}], "unixReviewTime": {t}}}',
    "amazon-2023": '{{"user_id": "{u}", "parent_asin": "{i}", "images": [{{"a": 1}}], "timestamp": {t}123}}',
    "foursquare": "{u}\t{i}\tc\tCaf\xe9\t40.7\t-74.0\t-240\t{weekday}",
    "gowalla": "{u}\t{iso}Z\t30.2\t-97.7\t{i}",
    "diginetica": "sessionId;userId;itemId;timeframe;eventdate\n{u};NA;{i};{ms};2016-05-09",
    "rees46": "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
    "{space} UTC,view,{i},1,a.b,,9.5,7,{u}",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_publishers_files(tmp_path, layout):
    header, _, line = FILES[layout].rpartition("\n")
    lines = [header] if header else []
    for second, item in [(2, "12"), (0, "10"), (1, "11"), (3, "13")]:
        words = {"t": 1_462_752_000 + second, "ms": second * 1000, "iso": f"2016-05-09T00:00:0{second}"}
        words |= {"space": f"2016-05-09 00:00:0{second}", "weekday": f"Mon May 09 00:00:0{second} +0000 2016"}
        lines += [line.format(u=user, i=item, **words) for user in (1, 2)]
    path = tmp_path / ("log.json" if layout.startswith("amazon") else "log.txt")
    path.write_bytes("\n".join(lines).encode("latin-1"))
    folder = run(tmp_path, path, "--layout", layout)
    times = [1_462_752_000 + second for second in range(3)]
    assert sequences_of(folder) == [(["10", "11", "12", "13"], times)] * 2
    if layout == "foursquare":
        assert pq.read_table(folder / "vocabulary" / "category.parquet")["value"].to_pylist() == ["Café"]


def test_movielens_100k_as_published(tmp_path, shared_data):
    source = shared_data / "ml-100k"
    ratings = pl.read_parquet(source / "ratings.parquet").select("user", "item", pl.lit(5), pl.col("ts").cast(pl.Int64))
    ratings.write_csv(tmp_path / "u.data", separator="\t", include_header=False)
    (tmp_path / "u.genre").write_text("unknown|0\nAction|1\nDrama|2\n\n")
    lines = [f"{item}|Caf\xe9 ({item})|01-Jan-1995||http|0|1|{item % 2}" for item in range(1, 1683)]
    (tmp_path / "u.item").write_bytes("\n".join(lines).encode("latin-1"))
    folder = run(tmp_path, tmp_path, "--set", "ml-100k")
    schema = json.loads((folder / "schema.json").read_text())
    assert (schema["num_users"], schema["num_items"], schema["num_events"]) == (943, 1_682, 100_000)
    assert pq.read_table(folder / "vocabulary" / "genres.parquet")["value"].to_pylist() == ["Action", "Drama"]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_row_may_be_a_whole_sequence(tmp_path, kind):
    frame = pl.DataFrame({"who": ["u", "v"], "what": [["a", "b", "c", "d"], ["b", "a", "c"]]})
    frame = frame.with_columns(when=pl.Series([[1, 4, 3, 2], [5, 6, 7]]))
    path = tmp_path / f"log.{kind}"
    options = ["--user", "who", "--item", "what", "--time", "when"]
    if kind == "parquet":
        frame.write_parquet(path)
    elif kind == "jsonl":
        frame.write_ndjson(path)
    else:
        frame.with_columns(pl.col("what", "when").cast(pl.List(pl.String)).list.join(" ")).write_csv(path)
        options += ["--list-separator", " "]
    folder = run(tmp_path, path, *options)
    assert sequences_of(folder) == [(["a", "d", "c", "b"], [1, 2, 3]), (["b", "a", "c"], [5, 6])]
    frame.with_columns(when=pl.Series([[1], [5, 6, 7]])).write_parquet(tmp_path / "uneven.parquet")
    with pytest.raises(SystemExit, match=r"uneven\.parquet, line 1: has 4 items and 1 times"):
        run(tmp_path, tmp_path / "uneven.parquet", *options[:6])


def test_a_split_that_a_column_gives(tmp_path):
    rows = [
        "u,a,1,train",
        "u,b,2,train",
        "u,c,3,valid",
        "u,d,4,test",
        "v,a,1,train",
        "v,b,2,test",
        "w,c,5,Test",
        "w,d,6,test",
    ]
    (tmp_path / "log.csv").write_text("\n".join(["who,what,when,fold", *rows]))
    columns = ["--user", "who", "--item", "what", "--time", "when", "--split", "given:fold"]
    folder = run(tmp_path, tmp_path / "log.csv", *columns)
    assert [items for items, _ in sequences_of(folder, "train")] == [["a", "b"], ["a"]]
    assert [items for items, _ in sequences_of(folder, "val")] == [["a", "b", "c"]]
    assert [items for items, _ in sequences_of(folder)] == [["a", "b", "c", "d"], ["a", "b"], ["c", "d"]]
    (tmp_path / "log.csv").write_text("\n".join(["who,what,when,fold", *rows, "u,a,9,train"]))
    with pytest.raises(SystemExit, match="'u' has an event of an earlier split after one of a later"):
        run(tmp_path, tmp_path / "log.csv", *columns)
    (tmp_path / "log.csv").write_text("\n".join(["who,what,when,fold", *rows, "x,a,9,holdout"]))
    with pytest.raises(SystemExit, match=r"line 10: column 'fold' holds 'holdout', none of train, val"):
        run(tmp_path, tmp_path / "log.csv", *columns)


def test_items_called_otherwise_and_those_unknown_are_counted(tmp_path, capsys):
    (tmp_path / "log.csv").write_text("who;what\n" + "".join(f"u;{item:03d}\n" for item in range(1, 8)))
    (tmp_path / "items.tsv").write_text("sku\tbrand\n" + "".join(f"{item}\tb\n" for item in range(1, 8)) + "003\tx\n")
    command = ["--user", "who", "--item", "what", "--items", str(tmp_path / "items.tsv"), "--item-columns", "brand"]
    with pytest.raises(SystemExit, match="--items needs --item-columns"):
        run(tmp_path, tmp_path / "log.csv", *command[:6])
    with pytest.raises(SystemExit, match="--items-id names a column of --items, which is not given"):
        run(tmp_path, tmp_path / "log.csv", *command[:4], "--items-id", "sku")
    with pytest.raises(SystemExit, match=r"--item: 'items\.tsv' has no column 'what'"):
        run(tmp_path, tmp_path / "log.csv", *command)
    run(tmp_path, tmp_path / "log.csv", *command, "--items-id", "sku")
    assert f"6 of 7 items are not in '{tmp_path / 'items.tsv'}', the first '001'" in capsys.readouterr().out


def test_a_log_without_times_says_so_and_may_be_split_at_random(tmp_path, capsys):
    lines = [f"u{user},{item}" for user in range(30) for item in "abcdefgh"]
    (tmp_path / "log.csv").write_text("\n".join(["who,what", *lines]))
    columns = ["--user", "who", "--item", "what"]
    first = sequences_of(run(tmp_path, tmp_path / "log.csv", *columns))
    assert {items[-1] for items, _ in first} == {"h"}
    assert "no --time: the order of the file is taken for that of time" in capsys.readouterr().out
    random = sequences_of(run(tmp_path, tmp_path / "log.csv", *columns, "--split", "random"))
    assert random == sequences_of(run(tmp_path, tmp_path / "log.csv", *columns, "--split", "random"))
    assert random != sequences_of(run(tmp_path, tmp_path / "log.csv", *columns, "--split", "random", "--seed", "1"))
    assert len({items[-1] for items, _ in random}) > 4
    assert all(sorted(items) == list("abcdefgh") for items, _ in random)


def test_many_files_and_what_is_dropped_is_said_loudly(tmp_path, capsys):
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text("who,what\n" + f"u{number},a\nu{number},b\nu{number},c{number}\n")
    files = [tmp_path / f"{number}.csv" for number in range(3)]
    options = ["--user", "who", "--item", "what", "--min-item-count", "2"]
    with pytest.raises(SystemExit, match="leaves no row in val"):
        run(tmp_path, files, *options)
    (tmp_path / "3.csv").write_text("who,what\n" + "v,a\nv,b\nv,a\n")
    run(tmp_path, [*files, tmp_path / "3.csv"], *options)
    assert "WARNING: the filters have dropped 25.0% of all events" in capsys.readouterr().out


def test_ids_that_are_floats(tmp_path):
    log = pl.DataFrame({"who": [1.0, 1.0, 1.0, float("nan")], "what": [7.0, 8.0, 9.0, 9.0]})
    log.write_parquet(tmp_path / "log.parquet")
    columns = ["--user", "who", "--item", "what"]
    with pytest.raises(SystemExit, match=r"line 4: column 'who' holds 'nan', no user"):
        run(tmp_path, tmp_path / "log.parquet", *columns)
    folder = run(tmp_path, tmp_path / "log.parquet", *columns, "--on-bad-line", "skip")
    assert pq.read_table(folder / "vocabulary" / "item.parquet")["value"].to_pylist() == [7, 8, 9]
    log.with_columns(what=pl.Series([2.0**53, 1, 2, 3])).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(SystemExit, match=r"--item: column 'what' .* a float of 2\*\*53 or more"):
        run(tmp_path, tmp_path / "log.parquet", *columns)
