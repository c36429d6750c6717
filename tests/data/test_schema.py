from __future__ import annotations

import json

import pytest

from recsys.data import Column, Schema
from tests.data.folders import schema_content, write_folder


@pytest.fixture
def content():
    return schema_content({"train": 10, "val": 5, "test": 2}, num_embeddings=10)


def read(tmp_path, content):
    (tmp_path / "schema.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return Schema.read(tmp_path)


def test_columns_keep_their_order_within_a_kind(tmp_path):
    schema = Schema.read(write_folder(tmp_path / "numbers"))
    assert schema.dense == ("I1", "I2")
    assert schema.categorical == (Column("C1", "categorical", 100), Column("C2", "categorical", 7))
    assert schema.multi_valued == (Column("tags", "multi_valued", 5, "mean"),)
    assert schema.label == "label"
    assert schema.splits["val"].num_rows == 50
    assert schema.counts_path("C1") == tmp_path / "numbers" / "counts" / "C1.parquet"


@pytest.mark.parametrize(("num_embeddings", "wide"), [(2**31 - 1, False), (2**31, True)])
def test_ids_are_wide_when_one_column_needs_it(tmp_path, content, num_embeddings, wide):
    content["features"][1]["num_embeddings"] = num_embeddings
    assert read(tmp_path, content).wide_ids is wide


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        ("criteo", "recsys prepare criteo --raw train.txt --out {path}"),
        ("avazu", "recsys prepare avazu --raw train.gz --out {path}"),
        ("ml-1m", "recsys prepare movielens --raw ml-1m --out {path}"),
        ("movielens", "recsys prepare movielens --raw ml-1m --out {path}"),
        ("mine", "recsys prepare clicks FILE --out {path}"),
    ],
)
def test_a_missing_folder_tells_how_to_make_it(tmp_path, folder, command):
    path = tmp_path / folder
    with pytest.raises(FileNotFoundError, match="does not exist") as error:
        Schema.read(path)
    assert command.format(path=path) in str(error.value)


def test_a_folder_without_schema_tells_how_to_make_it(tmp_path):
    (tmp_path / "criteo").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no schema\.json"):
        Schema.read(tmp_path / "criteo")


def change(content, *path_and_value):
    *path, last, value = path_and_value
    for key in path:
        content = content[key]
    content[last] = value


@pytest.mark.parametrize(
    ("path_and_value", "message"),
    [
        (("format_version", 2), "format_version must be 1, got 2"),
        (("features", []), "features must not be empty"),
        (("features", None), "features must be of type list, got None"),
        (("features", 0, "C1"), "must be an object, got 'C1'"),
        (("features", 0, "name", 3), "name must be of type str, got 3"),
        (("features", 0, "name", "C2"), "'C2' is named more than once"),
        (("features", 0, "name", "label"), "'label' is named more than once"),
        (("features", 0, "transform", "log"), "feature 'I1': transform must be an object, got 'log'"),
        (("features", 1, "kind", "sparse"), "'C1': kind must be one of dense, categorical, multi_valued, got 'sparse'"),
        (("features", 1, "num_embeddings", 0), "'C1': num_embeddings must be at least 1, got 0"),
        (("features", 1, "num_embeddings", "7"), "'C1': num_embeddings must be of type int, got '7'"),
        (("features", 1, "pooling", "sum"), "'C1': pooling is .* absent else; got 'sum'"),
        (("features", 4, "pooling", "max"), "'tags': pooling is 'sum' or 'mean' .* got 'max'"),
        (("splits", "train", 7), "split 'train' must be an object, got 7"),
        (("splits", "train", "num_rows", None), "split 'train': num_rows must be of type int, got None"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, content, path_and_value, message):
    change(content, *path_and_value)
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, content)
    assert "schema.json" in str(error.value)


def test_a_folder_of_sessions_is_told_from_one_of_clicks(tmp_path):
    with pytest.raises(ValueError, match=r"schema\.json: a folder of sessions; make one of clicks with recsys prepare"):
        read(tmp_path, '{"format_version": 1, "num_items": 3}')


@pytest.mark.parametrize("text", ["", "{", "[]", "\x00"])
def test_a_damaged_file_is_named(tmp_path, text):
    with pytest.raises(ValueError, match=r"schema\.json: (not valid JSON|must be a JSON object)"):
        read(tmp_path, text)
