from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data import Schema
from recsys.data.checks import Place, check_ids
from recsys.data.parquet import ParquetSplit
from recsys.data.schema import Column
from tests.data.folders import ROWS_OF_A_FILE, column_types, row, write_folder, write_split


def folder_with(tmp_path, number, column, value, num_rows=100):
    """A folder whose train row `number` has another value in one column."""
    folder = write_folder(tmp_path, num_rows)
    rows = [{**row(i), column: value} if i == number else row(i) for i in range(num_rows)]
    write_split(folder / "train", rows, [16], column_types())
    return folder


def read_all(folder):
    split = ParquetSplit(Schema.read(folder), "train")
    return [split.read(group) for group in range(len(split.group_rows))]


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("C1", 100, r"the id 100 is outside \[0, num_embeddings=100\)"),
        ("C2", -1, r"the id -1 is outside \[0, num_embeddings=7\)"),
        ("C2", None, "the value is null"),
        ("tags", [0, 5], r"the id 5 is outside \[0, num_embeddings=5\)"),
        ("tags", None, "the value is null"),
        ("tags", [0, None], "an id of the list is null"),
        ("label", float("nan"), "the label is nan, must be 0 or 1"),
        ("label", 0.5, "the label is 0.5, must be 0 or 1"),
        ("label", None, "the value is null"),
        ("I2", float("nan"), "the value is nan, must be finite"),
        ("I2", float("-inf"), "the value is -inf, must be finite"),
        ("I2", None, "the value is null"),
    ],
)
@pytest.mark.parametrize("number", [0, 21, 99])
def test_a_bad_value_is_named_with_its_file_row_and_column(tmp_path, number, column, value, problem):
    folder = folder_with(tmp_path, number, column, value)
    files = sorted((folder / "train").glob("*.parquet"))
    starts = np.cumsum([0, *(pq.read_metadata(file).num_rows for file in files)])
    at = int(np.searchsorted(starts, number, side="right")) - 1
    with pytest.raises(ValueError, match=problem) as error:
        read_all(folder)
    assert str(error.value).startswith(f"{files[at]}, row {number - starts[at]}, column '{column}': ")


@given(
    lists=st.lists(st.lists(st.integers(-1, 6), max_size=3), min_size=1, max_size=8).filter(lambda ls: any(ls)),
)
@settings(deadline=None)
def test_the_first_bad_id_of_the_lists_is_found(lists):
    bad = [number for number, ids in enumerate(lists) if any(not 0 <= i < 5 for i in ids)]
    offsets = np.cumsum([0, *map(len, lists)])
    values = np.array([i for ids in lists for i in ids])
    place, column = Place("f", 1000, "tags"), Column("tags", "multi_valued", 5, "sum")
    if not bad:
        check_ids(values, column, place, offsets)
    else:
        with pytest.raises(ValueError, match=f"row {1000 + bad[0]}, column 'tags'"):
            check_ids(values, column, place, offsets)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("C2", None, "column 'C2' of schema.json is missing; the file has label, I1, I2, C1, tags"),
        ("label", None, "column 'label' of schema.json is missing"),
        ("C1", pa.array(["a"]), "column 'C1' is categorical and must hold integers, got string"),
        ("C2", pa.array([1.0]), "column 'C2' is categorical and must hold integers, got double"),
        ("I1", pa.array(["a"]), "column 'I1' is dense and must hold numbers, got string"),
        ("label", pa.array([True]), "column 'label' is label and must hold numbers, got bool"),
        ("tags", pa.array([1]), "column 'tags' is multi_valued and must hold lists of integers, got int64"),
        ("tags", pa.array([["a"]]), "column 'tags' is multi_valued and must hold lists of integers, got list"),
    ],
)
def test_a_wrong_column_is_named_before_any_row_is_read(tmp_path, column, values, message):
    folder = write_folder(tmp_path, num_rows=1)
    path = folder / "train" / "part-00000.parquet"
    table = pq.read_table(path)
    place = table.column_names.index(column)
    table = table.drop_columns([column]) if values is None else table.set_column(place, column, values)
    pq.write_table(table, path)
    with pytest.raises(ValueError, match=message) as error:
        ParquetSplit(Schema.read(folder), "train")
    assert str(path) in str(error.value)


@pytest.mark.parametrize("kept", [0, 3, 100, -1])
def test_a_truncated_file_is_named(tmp_path, kept):
    folder = write_folder(tmp_path)
    path = folder / "train" / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="not a readable Parquet file") as error:
        ParquetSplit(Schema.read(folder), "train")
    assert str(path) in str(error.value)


def test_a_file_damaged_in_the_middle_is_named(tmp_path):
    folder = write_folder(tmp_path, num_rows=ROWS_OF_A_FILE)
    path = folder / "train" / "part-00000.parquet"
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a readable Parquet file") as error:
        read_all(folder)
    assert str(path) in str(error.value)


def test_rows_that_are_missing_are_noticed(tmp_path):
    folder = write_folder(tmp_path)
    sorted((folder / "train").glob("*.parquet"))[-1].unlink()
    with pytest.raises(ValueError, match=r"holds .* rows and schema\.json promises 100"):
        ParquetSplit(Schema.read(folder), "train")


def test_a_split_that_is_not_there_is_named(tmp_path):
    folder = write_folder(tmp_path)
    content = json.loads((folder / "schema.json").read_text())
    del content["splits"]["val"]
    (folder / "schema.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"has no split val \(it has: train, test\)"):
        ParquetSplit(Schema.read(folder), "val")


def test_narrow_stored_types_are_accepted(tmp_path):
    folder = write_folder(tmp_path, num_rows=10)
    path = folder / "train" / "part-00000.parquet"
    table = pq.read_table(path)
    narrow = {
        "label": pa.uint8(),
        "I1": pa.float64(),
        "C1": pa.uint16(),
        "C2": pa.int64(),
        "tags": pa.large_list(pa.int8()),
    }
    pq.write_table(table.cast(pa.schema({**{f.name: f.type for f in table.schema}, **narrow})), path)
    (group,) = read_all(folder)
    assert group.ids[0].tolist() == list(range(10))
    assert group.labels.tolist() == [row(i)["label"] for i in range(10)]
