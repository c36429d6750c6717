"""One value has one text, whatever type a file keeps it in; a type without texts is named, whatever it is for."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.prepare.files.column_values import texts_of
from recsys.prepare.programs import apply, clicks

TIMES = pl.Series([datetime(2023, 1, 1), datetime(2023, 10, 20, 10, 30, 50, 120_000)])
KINDS = [pl.Datetime("ms"), pl.Datetime("us"), pl.Datetime("ns")]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_one_instant_has_one_text(kind):
    assert texts_of(TIMES.cast(kind), "x").to_list() == ["2023-01-01 00:00:00", "2023-10-20 10:30:50.12"]
    zoned = TIMES.cast(kind).dt.replace_time_zone("UTC")
    texts = ["2023-01-01 00:00:00+00:00", "2023-10-20 10:30:50.12+00:00"]
    assert texts_of(zoned, "x").to_list() == texts
    assert texts_of(zoned.dt.convert_time_zone("Asia/Kolkata"), "x").to_list() == texts


def write_log(path, column, num_rows=12):
    values = (column.to_pylist() * num_rows)[:num_rows]
    x = pa.array(values, column.type) if not isinstance(column, pa.ExtensionArray) else column
    rows = len(x)
    labels, users = [row % 2 for row in range(rows)], [f"u{row % 3}" for row in range(rows)]
    pq.write_table(pa.table({"click": labels, "user": users, "x": x}), path)


def test_times_of_files_in_unlike_units_are_the_same_values(tmp_path, open_prepared):
    for unit in ("ms", "us"):
        write_log(tmp_path / f"{unit}.parquet", TIMES.to_arrow().cast(pa.timestamp(unit)))
    columns = ["--label", "click", "--categorical", "x", "--split", "rows", "--fractions", "1", "0", "0"]
    logs = [str(tmp_path / "ms.parquet"), str(tmp_path / "us.parquet")]
    clicks.main([*logs, "--out", str(tmp_path / "out"), *columns])
    assert open_prepared(tmp_path / "out").vocabulary("x") == {
        "2023-01-01 00:00:00": 1,
        "2023-10-20 10:30:50.12": 2,
    }
    write_log(tmp_path / "new.parquet", TIMES.to_arrow().cast(pa.timestamp("ns")))
    apply.main([str(tmp_path / "out"), str(tmp_path / "new.parquet"), "--out", str(tmp_path / "new")])
    assert open_prepared(tmp_path / "new").column("test", "x") == [1, 2] * 6


def test_truth_values_are_kept_as_keys(tmp_path, open_prepared):
    write_log(tmp_path / "log.parquet", pa.array([True, False]))
    columns = ["--label", "click", "--categorical", "user", "--key", "x", "--split", "rows"]
    clicks.main([str(tmp_path / "log.parquet"), "--out", str(tmp_path / "out"), *columns])
    assert open_prepared(tmp_path / "out").column("train", "x") == [True, False] * 5


def test_an_extension_type_is_what_it_is_stored_as(tmp_path, open_prepared):
    stored = pa.array(['{"a": 1}', '{"a": 2}'] * 6)
    write_log(tmp_path / "log.parquet", pa.ExtensionArray.from_storage(pa.json_(), stored))
    clicks.main([str(tmp_path / "log.parquet"), "--label", "click", "--out", str(tmp_path / "out")])
    assert set(open_prepared(tmp_path / "out").vocabulary("x")) == {'{"a": 1}', '{"a": 2}'}


PLAIN = {
    "durations": pa.array([timedelta(1), timedelta(2)]),
    "bytes": pa.array([b"a", b"\xff"]),
    "a struct": pa.array([{"a": 1}, {"a": 2}]),
}
LISTS = {
    "lists": pa.array([["a"], ["b"]]),
    "lists of one length": pa.array([["a"], ["b"]], pa.list_(pa.string(), 1)),
    "maps": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int8())),
}


@pytest.mark.parametrize("case", PLAIN)
def test_a_column_without_texts_is_left_out(tmp_path, capsys, case):
    write_log(tmp_path / "log.parquet", PLAIN[case])
    clicks.main([str(tmp_path / "log.parquet"), "--label", "click", "--out", str(tmp_path / "out")])
    assert re.search(r"x +left out +of type", capsys.readouterr().out)


@pytest.mark.parametrize("case", PLAIN | LISTS)
def test_a_split_without_texts(tmp_path, capsys, case):
    write_log(tmp_path / "log.parquet", (PLAIN | LISTS)[case])
    words = ["--label", "click", "--categorical", "user", "--split", "given:x", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        clicks.main([str(tmp_path / "log.parquet"), *words])
    assert end.value.code == 2
    assert "log.parquet: column 'x' is of type " in capsys.readouterr().err
