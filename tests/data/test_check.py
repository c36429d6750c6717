"""What one reader says of folders made by hand: each fault is named, and none passes."""

from __future__ import annotations

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.commands import prepare as command
from recsys.data.check import problems_of
from recsys.data.counts import read_counts
from recsys.data.schema import Schema
from recsys.data.session_schema import SessionSchema
from recsys.prepare.files.fingerprints import prepared_marks, read_vocabulary
from recsys.prepare.programs import clicks, sessions


@pytest.fixture
def of_clicks(tmp_path):
    rows = [f"{number % 2},u{number % 5},{number},a|b,{1 + number % 3},k{number}" for number in range(60)]
    (tmp_path / "log.csv").write_text("\n".join(["click,user,x,tags,w,key", *rows]))
    options = ["--label", "click", "--categorical", "user", "--dense", "x", "--lists", "tags:|", "--weight", "w"]
    clicks.main(
        [str(tmp_path / "log.csv"), *options, "--key", "key", "--group", "user", "--out", str(tmp_path / "out")]
    )
    return by_hand(tmp_path / "out")


@pytest.fixture
def of_sessions(tmp_path):
    rows = [f"u{user},i{(user * 7 + place) % 11},{place},b{place % 2},0.5" for user in range(20) for place in range(6)]
    (tmp_path / "log.csv").write_text("\n".join(["who,what,when,brand,size", *rows]))
    options = ["--user", "who", "--item", "what", "--time", "when", "--item-columns", "brand", "size:dense"]
    sessions.main(["--raw", str(tmp_path / "log.csv"), "--out", str(tmp_path / "out"), *options])
    folder = by_hand(tmp_path / "out")
    (folder / "vectors").mkdir()
    np.save(folder / "vectors" / "text.npy", np.ones((12, 3), np.float32))
    edit(folder, lambda schema: schema["vectors"].update(text=3))
    return folder


def edit(folder, change):
    schema = json.loads((folder / "schema.json").read_text())
    change(schema)
    (folder / "schema.json").write_text(json.dumps(schema))


def by_hand(folder):
    """A folder that lists no files, as one made by hand does."""
    edit(folder, lambda schema: schema.pop("files"))
    return folder


def set_cell(path, name, row, value, kind=None):
    table = pq.read_table(path)
    values = table[name].to_pylist()
    values[row] = value
    column = pa.array(values, kind or table[name].type)
    pq.write_table(table.set_column(table.column_names.index(name), name, column), path)


def part(split):
    return f"{split}/part-00000.parquet"


COLUMNS = {
    "text": lambda values: list(map(str, values)),
    "zero": lambda values: [0.0] * len(values),
    "other": lambda values: [1 - values[0], *values[1:]],
    "twice": lambda values: values,
}
"""What a whole column becomes."""
CLICKS = {
    "id too large": (part("train"), "user", 3, 99, None, "row 3, column 'user': the id 99 is outside"),
    "id below 0": (part("val"), "user", 0, -1, None, "row 0, column 'user': the id -1 is outside"),
    "list id": (part("test"), "tags", 1, [7], None, "row 1, column 'tags': the id 7 is outside"),
    "label": (part("train"), "label", 2, 2, None, "row 2, column 'label': the label is 2, must be 0 or 1"),
    "null label": (part("train"), "label", 2, None, None, "row 2, column 'label': the value is null"),
    "text ids": (part("train"), "user", 2, 1, "text", "column 'user' is categorical and must hold integers"),
    "nan": (part("train"), "x", 1, float("nan"), None, "row 1, column 'x': the value is nan, must be finite"),
    "1e39": (part("train"), "x", 1, 1e39, pa.float64(), r"the value is 1e\+39, must be finite in float32"),
    "weight": (part("train"), "weight", 1, -1.0, None, "the weight is -1.0, must be finite and at least 0"),
    "group": (part("train"), "group", 1, -5, None, r"the group is -5, must be in \[0, 2\*\*63\)"),
    "label rate": (part("test"), "label", 0, None, "other", r"split 'test' has a label_rate of 0\.\d+, and not 0\."),
    "weights of 0": (part("test"), "weight", 0, None, "zero", "test: no row has a weight above 0, and nothing counts"),
    "a column twice": (part("val"), "user", 0, None, "twice", "column 'user' is there twice; write it once"),
    "count": ("counts/user.parquet", "count", 1, -1, None, "counts must be at least 0, got -1"),
    "count id": ("counts/user.parquet", "id", 1, 10**12, None, r"ids must be 0\.\.5 in order"),
    "value twice": ("vocabulary/user.parquet", "value", 1, "u0", None, "every id must have a value of its own"),
}
SESSIONS = {
    "narrowing": (
        part("train"),
        "items",
        0,
        [2**32 + 1, 1, 2, 3],
        pa.list_(pa.int64()),
        r"must hold ids 1\.\.num_items=11",
    ),
    "padding": (part("train"), "items", 0, [0, 1, 2, 3], None, r"must hold ids 1\.\.num_items=11, got 0"),
    "user 1.5": (part("val"), "user", 0, 1.5, pa.float64(), "column 'user' must hold integers, got double"),
    "falling times": (part("test"), "times", 2, [4, 3, 2, 1, 0], None, "times of row 2 fall"),
    "target": (part("test"), "target", 0, 12, None, "column 'target' must hold ids"),
    "counts": ("counts/item.parquet", "count", 3, -5, None, "counts must be at least 0, got -5"),
    "null value": ("items.parquet", "brand", 2, None, None, "column 'brand' must hold integers, and has 1 nulls"),
    "infinite": ("items.parquet", "size", 2, float("inf"), None, "column 'size' must hold finite numbers"),
}


@pytest.mark.parametrize("case", CLICKS)
def test_faults_of_clicks(of_clicks, case):
    check_fault(of_clicks, *CLICKS[case])


@pytest.mark.parametrize("case", SESSIONS)
def test_faults_of_sessions(of_sessions, case):
    check_fault(of_sessions, *SESSIONS[case])


def check_fault(folder, file, name, row, value, kind, message):
    assert list(problems_of(folder)) == []
    if kind in COLUMNS:
        table = pq.read_table(folder / file)
        column = pa.array(COLUMNS[kind](table[name].to_pylist()))
        if kind == "twice":
            pq.write_table(table.append_column(name, column), folder / file)
        else:
            pq.write_table(table.set_column(table.column_names.index(name), name, column), folder / file)
    else:
        set_cell(folder / file, name, row, value, kind)
    (problem,) = problems_of(folder)
    with pytest.raises(ValueError, match=message):
        raise ValueError(problem)
    assert command.main(["check", str(folder)]) == 1


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((12, 4), np.float32), r"must be floats \[12, 3\], got float32 \[12, 4\]"),
        (np.ones((7, 3), np.float32), r"must be floats \[12, 3\], got float32 \[7, 3\]"),
        (np.full((12, 3), np.nan, np.float32), "row 0 is not finite"),
        (np.ones((12, 3), np.int64), r"must be floats \[12, 3\], got int64"),
    ],
)
def test_vectors_that_do_not_fit(of_sessions, matrix, message):
    np.save(of_sessions / "vectors" / "text.npy", matrix)
    (problem,) = problems_of(of_sessions)
    with pytest.raises(ValueError, match=message):
        raise ValueError(problem)


def test_items_in_another_order(of_sessions):
    table = pq.read_table(of_sessions / "items.parquet")
    pq.write_table(table.take(np.arange(len(table))[::-1]), of_sessions / "items.parquet")
    message = r"items\.parquet: column 'item' must hold 0\.\.11 in order; sort the rows by it"
    for read in (lambda schema: schema.item_values("brand"), lambda schema: schema.item_numbers("size")):
        with pytest.raises(ValueError, match=message):
            read(SessionSchema.read(of_sessions))
    pq.write_table(table.drop_columns("item"), of_sessions / "items.parquet")
    assert list(problems_of(of_sessions)) == []


def test_a_vocabulary_of_lists(of_clicks):
    path = of_clicks / "vocabulary" / "user.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "value", pa.array([[text] for text in table["value"].to_pylist()])), path)
    assert "column 'value' must hold texts or numbers, got list" in next(problems_of(of_clicks))
    with pytest.raises(ValueError, match=r"user\.parquet' cannot be read as a vocabulary"):
        read_vocabulary(of_clicks, "user")


@pytest.mark.parametrize(("place", "cell"), [(0, {"a": 1}), (0, None), (0, 1.5), (1, None)])
def test_a_vocabulary_whose_ids_are_no_numbers(of_clicks, place, cell):
    path = of_clicks / "vocabulary" / "user.parquet"
    table = pq.read_table(path)
    column = pa.array([cell] * len(table))
    pq.write_table(table.set_column(place, table.column_names[place], column), path)
    with pytest.raises(ValueError, match=r"user\.parquet': ids are of type .* and must be integers"):
        prepared_marks(of_clicks)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.append_column("brand", table["brand"]), "Multiple matches"),
        (lambda table: table.append_column("x", pa.array([{"a": 1}] * len(table))), "Unsupported cast from struct"),
    ],
)
def test_items_that_have_no_fingerprint(of_sessions, change, said):
    path = of_sessions / "items.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    with pytest.raises(ValueError, match=rf"items\.parquet: column '\w+' must be there once, and hold numbers.*{said}"):
        prepared_marks(of_sessions)


def test_a_schema_without_splits(of_clicks):
    edit(of_clicks, lambda schema: schema.update(splits={}))
    assert "splits names no split" in next(problems_of(of_clicks))


def test_a_schema_that_promises_what_no_memory_holds(of_sessions):
    edit(of_sessions, lambda schema: schema.update(num_items=10**12))
    assert any("ids must be 1..1000000000000 in order, got 11 ids" in problem for problem in problems_of(of_sessions))
    edit(of_sessions, lambda schema: schema.update(num_items=0))
    assert [*problems_of(of_sessions)] == [f"{of_sessions / 'schema.json'}: num_items must be at least 1, got 0."]


@pytest.mark.parametrize("name", ["user", "items"])
def test_numbers_that_64_bits_do_not_hold(of_sessions, name):
    table = pq.read_table(of_sessions / part("val"))
    kind = pa.uint64() if name == "user" else pa.list_(pa.uint64())
    column = pa.array([2**64 - 1 if name == "user" else [2**64 - 1]] * len(table), kind)
    pq.write_table(table.set_column(table.column_names.index(name), name, column), of_sessions / part("val"))
    assert f"val: column '{name}' holds a number that is too large (" in next(problems_of(of_sessions))


SESSION_SCHEMAS = [
    (lambda schema: schema.update(vectors={"text": 3.0}), "vectors must map names to widths, whole numbers from 1"),
    (lambda schema: schema.update(vectors={"text": 0}), "vectors must map names to widths, whole numbers from 1"),
    (lambda schema: schema["item_columns"].append(schema["item_columns"][0]), "item_columns must differ, got brand, "),
    (lambda schema: schema["item_columns"][0].update(kind="multi_valued"), "'brand' must hold lists of integers, got"),
    (lambda schema: schema.update(files={"train/x": {"bytes": None}}), "files must map names to their bytes, got"),
    (lambda schema: schema.update(files={"": {"bytes": 3}}), "files must map names to their bytes, got"),
    (lambda schema: schema.update(num_events=1.5), "num_events must be of type int, got 1.5"),
    (lambda schema: schema.update(num_sequences=[]), "num_sequences must be of type int, got []"),
    (lambda schema: schema["item_columns"][0].update(num_embeddings=0), "num_embeddings must be at least 1, got 0"),
    (lambda schema: schema["item_columns"][0].update(num_embeddings=10**12), "brand.parquet: ids must be 1..9999"),
]


@pytest.mark.parametrize(("change", "message"), SESSION_SCHEMAS)
def test_a_schema_of_sessions_that_cannot_be_meant(of_sessions, change, message):
    edit(of_sessions, change)
    assert message in next(problems_of(of_sessions))


CLICK_SCHEMAS = [
    (lambda schema: schema["features"][0].update(kind="dense"), "num_embeddings is of ids, and dense columns hold num"),
    (lambda schema: schema.update(hash_bits="x"), "hash_bits must be of type int, got 'x'"),
    (lambda schema: schema["splits"]["train"].update(label_rate="x"), "label_rate must be in [0, 1] or null, got 'x'"),
    (lambda schema: schema["splits"]["train"].update(label_rate=2), "label_rate must be in [0, 1] or null, got 2"),
    (lambda schema: schema.update(files={"train/x": {"bytes": "3"}}), "files must map names to their bytes, got"),
    (lambda schema: schema["features"][1]["transform"].update(std=float("inf")), "(Infinity is no finite number)"),
]


@pytest.mark.parametrize(("change", "message"), CLICK_SCHEMAS)
def test_a_schema_of_clicks_that_cannot_be_meant(of_clicks, change, message):
    edit(of_clicks, change)
    assert message in next(problems_of(of_clicks))


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[" * 100_000, "\ufeff{}", '{"num_items": ' + "9" * 5_000 + "}", '{"num_items": 1, "num_items": 2}'),
        *('{"num_items": 1e400}', '{"num_items": NaN}'),
    ],
)
def test_a_schema_that_is_no_json(of_sessions, text):
    (of_sessions / "schema.json").write_text(text)
    assert "schema.json: not valid JSON (" in next(problems_of(of_sessions))


def test_a_schema_that_is_no_file(of_sessions):
    (of_sessions / "schema.json").unlink()
    os.mkfifo(of_sessions / "schema.json")
    assert "schema.json: must be a file" in next(problems_of(of_sessions))


@pytest.mark.parametrize("schema", [Schema, SessionSchema])
def test_a_path_that_the_system_does_not_take(schema):
    with pytest.raises(ValueError, match=r"data path 'xxx.*': file name too long"):
        schema.read("x" * 300)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"id": [0, 1, 1], "count": [1, 2, 3]}, "every id must be there once"),
        ({"id": [0, 1, 2], "count": [1, -2, 3]}, "counts must be at least 0, got -2"),
        ({"id": [0, 1, 2], "count": [0.5, 1.0, 2.0]}, "column 'count' must hold integers without a null, got double"),
        ({"id": [0, None, 2], "count": [1, 2, 3]}, "column 'id' must hold integers without a null"),
    ],
)
def test_counts_of_a_table(tmp_path, counts, message):
    pq.write_table(pa.table(counts), tmp_path / "item.parquet")
    with pytest.raises(ValueError, match=message):
        read_counts(tmp_path, "item", 5)


def test_a_column_that_is_missing_is_named_in_one_line(of_sessions):
    table = pq.read_table(of_sessions / part("val"))
    pq.write_table(table.drop_columns("target"), of_sessions / part("val"))
    (problem,) = problems_of(of_sessions)
    assert "cannot be read as a file with columns user, items, times, target" in problem
    assert len(problem.splitlines()) == 1


def test_numbers_of_rows_and_targets(of_sessions):
    edit(of_sessions, lambda schema: schema["splits"]["val"].update(num_targets=3))
    edit(of_sessions, lambda schema: schema["splits"]["test"].update(num_rows=3))
    assert [problem.split(": ", 1)[1] for problem in problems_of(of_sessions)] == [
        "schema.json says 3 targets, the files have 20.",
        "schema.json says 3 rows of 100 events, the files have 20 of 100; prepare the folder again.",
    ]


def test_a_changed_byte_is_noticed_and_a_whole_folder_is_well(tmp_path, capsys):
    (tmp_path / "log.csv").write_text("click,user\n" + "1,a\n0,b\n0,a\n1,b\n" * 10)
    clicks.main(
        [str(tmp_path / "log.csv"), "--label", "click", "--categorical", "user", "--out", str(tmp_path / "out")]
    )
    assert command.main(["check", str(tmp_path / "out")]) == 0
    assert "all is well" in capsys.readouterr().out
    path = tmp_path / "out" / "vocabulary" / "user.parquet"
    path.write_bytes(path.read_bytes().replace(b"value", b"vulae"))
    assert command.main(["check", str(tmp_path / "out")]) == 1
    assert "holds other bytes than were written" in capsys.readouterr().out


def test_programs_are_listed(capsys):
    assert command.main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in command.PROGRAMS)
    with pytest.raises(ValueError, match="there is no program 'click'; did you mean 'clicks'"):
        command.main(["click"])
