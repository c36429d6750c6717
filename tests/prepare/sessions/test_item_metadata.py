"""Metadata of items: which names, types and ids are refused, and what the others become."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_allclose

from recsys.data.check import main as check
from recsys.data.session_schema import SessionSchema
from recsys.prepare.programs import sessions
from recsys.prepare.sessions.text_vectors import text_vectors

LOG = pl.DataFrame(
    {
        "who": ["u", "u", "u", "v"],
        "sku": [7, 8, 9, 8],
        "item": ["x", "y", "y", "x"],
        "user": [1, 1, 2, 2],
        "words": [["r", "s"], [], ["s"], ["t"]],
        "raw": [b"1", b"2", b"3", b"4"],
        "tags": pl.Series(["r|s", "", "s", "t"], dtype=pl.Categorical),
        "a/b": [1, 2, 3, 4],
        "title": ["red shoe", "blue shoe", None, "blue shoe"],
        "maker": ["a shoe maker", None, "blue hat", None],
        "made": [[0.5, 1.5], [2, 3], None, [2, 3]],
        "text": [[1, 2], [3], [], [3]],
        "broken": [[1.0, 2.0], [3.0, float("nan")], [0, 0], None],
        "large": [[1.0], [1e300], [0.0], None],
        "lone": ["a", "b", "c", None],
        "nothing": pl.Series([None, None, None, []], dtype=pl.List(pl.Float64)),
    }
)


def prepare(tmp_path: Path, *options: str, log: pl.DataFrame = LOG, items: pl.DataFrame | None = None) -> Path:
    log.write_parquet(tmp_path / "log.parquet")
    command = ["--raw", str(tmp_path / "log.parquet"), "--out", str(tmp_path / "out"), "--item", "sku"]
    if items is not None:
        items.write_parquet(tmp_path / "items.parquet")
        command += ["--items", str(tmp_path / "items.parquet")]
    sessions.main([*command, *([] if "--user" in options else ["--user", "who"]), *options])
    return tmp_path / "out"


def column(folder: Path, name: str) -> dict[object, object]:
    """The values that each item has, by the log's names."""
    names = pq.read_table(folder / "vocabulary" / "item.parquet")["value"].to_pylist()
    values = [None, *pq.read_table(folder / "vocabulary" / f"{name}.parquet")["value"].to_pylist()]
    ids = pq.read_table(folder / "items.parquet")[name].to_pylist()[1:]
    named = [[values[i] for i in entry] if isinstance(entry, list) else values[entry] for entry in ids]
    return dict(zip(names, named, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--item-columns", "item"],
            "--item-columns 'item': the prepared folder has a column 'item' of its own; rename yours in the file.",
        ),
        (
            ["--item-columns", "user"],
            "--item-columns 'user': the prepared folder has a column 'user' of its own; rename yours in the file.",
        ),
        (
            ["--item-columns", "tags", "tags:multi_valued"],
            "--item-columns 'tags': the name is given twice; give each column once.",
        ),
        (
            ["--item-columns", "a/b"],
            "--item-columns 'a/b': the name becomes that of a file; rename the column to one without / and \\.",
        ),
        (["--item-columns", ".."], "--item-columns '..': the name becomes that of a file; rename"),
        (["--item-columns", ":dense"], "--item-columns '': the name becomes that of a file; rename"),
        (
            ["--item-columns", "sku:multi_valued"],
            "is of type Int64; multi_valued takes lists of numbers or texts, or texts like a|b.",
        ),
        (
            ["--item-columns", "words"],
            "is of type List(String); categorical takes numbers or texts (lists are multi_valued).",
        ),
        (["--item-columns", "words:dense"], "is of type List(String); dense takes numbers."),
        (["--item-columns", "raw:bins"], "is of type Binary; bins takes numbers."),
        (["--item-columns", "words:text", "--text-dim", "2"], "is of type List(String); text takes texts."),
        (["--item-columns", "title:text"], "--item-columns title:text needs --text-dim, the width of vectors"),
        (["--item-columns", "words:vector"], "vector takes lists of numbers, in a Parquet file."),
        (["--item-columns", "text:vector"], "item '7' has a vector of width 2, item '8' one of 1; make them equal."),
        (["--item-columns", "text:vector", "--text-dim", "2"], "--text-dim needs texts of items; name their"),
        (
            ["--item-columns", "text:vector", "title:text", "--text-dim", "2"],
            "--item-columns text:vector: --text-dim makes vectors of this name; rename the column.",
        ),
        (["--item-columns", "broken:vector"], "item '8' has the value nan at place 1, which is no finite number"),
        (["--item-columns", "nothing:vector"], "--item-columns nothing:vector: no item of the log has a vector."),
        (["--item-columns", "large:vector"], "item '8' has the value 1e+300 at place 0, which is no finite number"),
        (["--item-columns", "a/b:text", "--text-dim", "1"], "--item-columns 'a/b': the name becomes that of a file"),
        (["--item-columns", "lone:text", "--text-dim", "1"], "--text-dim: no word occurs in the texts of two items"),
        (["--user", "words"], "is of type List(String); give one of numbers or texts."),
    ],
)
def test_what_is_refused(tmp_path, options, message):
    with pytest.raises(SystemExit, match=re.escape(message)):
        prepare(tmp_path, *options)
    assert not (tmp_path / "out").exists()


def test_lists_and_categories_of_a_parquet_log(tmp_path):
    folder = prepare(tmp_path, "--item-columns", "words:multi_valued", "tags:multi_valued", "sku")
    assert column(folder, "words") == {7: ["r", "s"], 8: [], 9: ["s"]}
    assert column(folder, "tags") == {7: ["r", "s"], 8: [], 9: ["s"]}
    assert column(folder, "sku") == {7: 7, 8: 8, 9: 9}


def test_texts_and_vectors_become_matrices_in_the_order_of_ids(tmp_path):
    options = ["--item-columns", "title:text", "maker:text", "made:vector", "tags:multi_valued", "--text-dim", "2"]
    folder = prepare(tmp_path, *options)
    schema = SessionSchema.read(folder)
    assert [column.name for column in schema.columns] == ["tags"]
    assert schema.vectors == {"made": 2, "text": 2}
    order = pq.read_table(folder / "vocabulary" / "item.parquet")["value"].to_pylist()
    made = {7: [0.5, 1.5], 8: [2.0, 3.0], 9: [0.0, 0.0]}
    assert schema.item_vectors("made").tolist() == [[0.0, 0.0], *(made[item] for item in order)]
    texts = {7: "red shoe a shoe maker", 8: "blue shoe", 9: "blue hat"}
    expected = dict(zip(texts, text_vectors(pl.Series(texts.values()), 2), strict=True))
    assert_allclose(schema.item_vectors("text")[1:], [expected[item] for item in order], atol=1e-6)


def test_vectors_of_a_file_with_other_items_before_and_without_some(tmp_path):
    """Vectors of items that are not in the log are not looked at, whatever they hold."""
    rows = {90: [5, 6], 9: [3, 4], 91: [7, 8], 7: [1, 2]}
    made = pl.Series(list(rows.values()), dtype=pl.Array(pl.Int16, 2))
    items = pl.DataFrame({"sku": list(rows), "made": made})
    folder = prepare(tmp_path, "--item-columns", "made:vector", items=items)
    order = pq.read_table(folder / "vocabulary" / "item.parquet")["value"].to_pylist()
    expected = [[0.0, 0.0], *(rows.get(item, [0.0, 0.0]) for item in order)]
    assert SessionSchema.read(folder).item_vectors("made").tolist() == expected
    ragged = pl.DataFrame({"sku": [90, 8, 91], "made": [[1.0, 2.0, 3.0], [5.0, 6.0], [float("nan"), 0.0]]})
    folder = prepare(tmp_path, "--item-columns", "made:vector", "--overwrite", items=ragged)
    assert SessionSchema.read(folder).item_vectors("made").max() == 6


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["7", "seven", "007", "9"], {7: "a", 8: None, 9: "d"}),
        (pl.Series([7, 8, 9, 10], dtype=pl.UInt64), {7: "a", 8: "b", 9: "c"}),
        ([7.5, 7.0, 9.0, None], {7: "b", 8: None, 9: "c"}),
    ],
)
def test_ids_of_another_type_than_the_logs(tmp_path, ids, expected):
    items = pl.DataFrame({"sku": ids, "brand": ["a", "b", "c", "d"]})
    assert column(prepare(tmp_path, "--item-columns", "brand", items=items), "brand") == expected


def test_numbers_beside_the_texts_of_the_log(tmp_path):
    items = pl.DataFrame({"sku": [7, 8], "brand": ["a", "b"]})
    log = LOG.with_columns(pl.col("sku").cast(pl.String))
    folder = prepare(tmp_path, "--item-columns", "brand", log=log, items=items)
    assert column(folder, "brand") == {"7": "a", "8": "b", "9": None}


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (
            ["p7", "p8"],
            "is an item of the log (there 'p7', String; in the log '7', Int64); write the ids alike in both.",
        ),
        ([["7"], ["8"]], "--items: column 'sku' of '{}/items.parquet' is of type List(String); give one of numbers"),
    ],
)
def test_ids_that_are_not_the_logs(tmp_path, ids, message):
    items = pl.DataFrame({"sku": ids, "brand": ["a", "b"]})
    with pytest.raises(SystemExit, match=re.escape(message.format(tmp_path))):
        prepare(tmp_path, "--item-columns", "brand", items=items)


def test_bins_of_times_are_of_seconds_and_each_has_a_name(tmp_path):
    """In whatever unit a file keeps them; a second in two thousand millions is another one."""
    begin = datetime(2023, 1, 1)
    items = pl.DataFrame({"sku": [7, 8, 9], "made": [begin + timedelta(seconds=second) for second in range(3)]})
    found = []
    for unit in ("ms", "ns"):
        (tmp_path / unit).mkdir()
        of_unit = items.with_columns(pl.col("made").cast(pl.Datetime(unit)))
        folder = prepare(tmp_path / unit, "--item-columns", "made:bins:3", log=LOG.select("who", "sku"), items=of_unit)
        assert check([str(folder)]) == 0
        found.append(column(folder, "made"))
    assert found[0] == found[1]
    assert len(set(found[0].values())) == 3
