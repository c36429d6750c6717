"""What columns are taken for, and the file that says so."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
import yaml

from recsys.prepare.clicks.click_spec import ClickSpec
from recsys.prepare.clicks.column_kinds import infer_spec
from recsys.prepare.programs import clicks

SAID = dict.fromkeys(("label", "weight", "group", "time", "split_column"))


def log(num_rows: int = 400) -> pl.DataFrame:
    draw = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "id": np.arange(num_rows),
            "user_id": draw.integers(0, 40, num_rows),
            "zip": [f"{number:05d}" for number in draw.integers(0, 300, num_rows)],
            "price": np.round(np.exp(draw.normal(0, 2, num_rows)), 2),
            "score": draw.normal(0, 1, num_rows),
            "hour": draw.integers(0, 24, num_rows),
            "genres": [["a|b", "b", "c|a", "d|a|b"][place % 4] for place in range(num_rows)],
            "comment": [f"what {place} said at great length of nothing at all, again" for place in range(num_rows)],
            "version": ["1"] * num_rows,
            "time": 1_700_000_000_000 + draw.integers(0, 10**9, num_rows),
            "is_click": draw.integers(0, 2, num_rows),
            "mobile": draw.integers(0, 2, num_rows),
        }
    )


@pytest.mark.parametrize("as_text", [True, False])
def test_what_columns_are_taken_for(as_text):
    frame = log().with_columns(pl.all().cast(pl.String)) if as_text else log()
    spec = infer_spec(frame, SAID)
    assert (spec.label, spec.group, spec.time, spec.time_unit, spec.keys) == (
        *("is_click", "user_id", "time", "ms", ("id",)),
    )
    assert {rule.name: rule.transform or rule.kind for rule in spec.columns} == {
        **{"user_id": "categorical", "zip": "categorical", "price": "log", "score": "standardise"},
        **{"hour": "categorical", "genres": "lists", "mobile": "categorical"},
    }
    assert spec.reasons["comment"] == "left out: nearly every value is another"
    assert spec.reasons["version"] == "left out: one value only"


def test_times_are_said_to_split_rows_only_where_they_do():
    assert infer_spec(log(), SAID).reasons["time"] == "times: rows are split by it"
    assert infer_spec(log(), SAID, by_time=False).reasons["time"] == "times: left out, as rows are not split by it"


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("__index_level_0__", [3, 1, 2, 0], "its name is that of row numbers of pandas"),
        ("Unnamed: 0", ["0", "1", "0", "1"], "its name is that of row numbers of pandas"),
        ("price", ["3,5", "12", "0,25", "3,5"], "may be decimal commas, like 3,5: write points, or --lists price:,"),
        ("day", ["31/12/2024"] * 3 + ["1/1/2025"], "may be dates, like 31/12/2024: say --time day --time-format"),
        ("day", ["1.12.2024 08:00"] * 3 + [None], "one value only"),
    ],
)
def test_what_may_be_something_else_is_left_out_and_said(name, values, reason):
    frame = pl.DataFrame({"y": [0, 1, 1, 0], "item": ["a", "b", "a", "c"], name: values})
    spec = infer_spec(frame, SAID)
    assert [rule.name for rule in spec.columns] == ["item"]
    assert spec.reasons[name] == f"left out: {reason}"


@pytest.mark.parametrize("values", [["1,2,3", "2", "3,1", "1"], ["10.2.1", "10.3.0", "10.2.1", "9.1.0"]])
def test_lists_of_numbers_and_versions_are_no_such_thing(values):
    spec = infer_spec(pl.DataFrame({"y": [0, 1, 1, 0], "of": values}), SAID)
    assert [rule.name for rule in spec.columns] == ["of"]


def test_a_label_of_two_texts_is_hinted_at():
    told = pl.DataFrame({"a": ["x", "y", "z"], "clicked": ["no", "yes", None]})
    with pytest.raises(ValueError, match=r"too\), such as --label clicked --positive yes; a log that has clicks alone"):
        infer_spec(told, SAID)


def test_the_label_is_asked_for_where_it_is_not_clear():
    two = pl.DataFrame({"a": [0, 1, 1], "b": [1, 0, 1], "c": ["x", "y", "z"]})
    with pytest.raises(ValueError, match=r"several columns hold 0 and 1 \(a, b\); say which is the label with --label"):
        infer_spec(two, SAID)
    with pytest.raises(ValueError, match="no column holds 0 and 1 alone"):
        infer_spec(two.select("c"), SAID)
    assert infer_spec(two, SAID | {"label": "b"}).label == "b"
    rated = pl.DataFrame({"rating": [1, 3, 5, 4], "user": ["a", "b", "a", "b"]})
    assert infer_spec(rated, SAID).positive_from == 4


def test_what_was_decided_is_written_and_read_again(tmp_path, capsys):
    log().write_csv(tmp_path / "log.csv")
    spec, command = tmp_path / "columns.yaml", [str(tmp_path / "log.csv"), "--spec", str(tmp_path / "columns.yaml")]
    clicks.main(command)
    assert "is_click  label" in capsys.readouterr().out
    assert yaml.safe_load(spec.read_text())["columns"]["price"] == {"kind": "dense", "transform": "log"}
    clicks.main([*command, "--out", str(tmp_path / "out")])
    schema = json.loads((tmp_path / "out" / "schema.json").read_text())
    assert ClickSpec.from_json(schema["columns"], "it") == infer_spec(
        pl.read_csv(tmp_path / "log.csv", infer_schema=False), SAID
    )
    with pytest.raises(SystemExit, match="exists and says what the columns are; change it there"):
        clicks.main([*command, "--out", str(tmp_path / "other"), "--dense", "price"])


def test_columns_without_a_row_are_not_guessed(tmp_path):
    (tmp_path / "log.csv").write_text("a,x\n")
    with pytest.raises(SystemExit, match=r"'log.csv' has no rows to tell from what its columns are"):
        clicks.main([str(tmp_path / "log.csv"), "--label", "a", "--out", str(tmp_path / "out")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns: {a: {kind: word}}", "column 'a': kind must be one of categorical, dense, lists, got 'word'"),
        ("columns: {a: {kind: dense, transform: square}}", "takes log, standardise, none or bins:N, got 'square'"),
        ("columns: {a: {kind: dense, pooling: sum}}", "only lists have a separator and pooling"),
        ("columns: {a: {kind: dense}, a: {kind: lists}}", "'a' is there twice"),
        ("label: x\nlabel: y", "'label' is there twice"),
        ("columns: {a: {kind: dense, word: 1}}", "'word' is none of kind, transform, separator, pooling"),
        ("lable: x\ncolumns: {a: {kind: dense}}", "'lable' is none of"),
        ("columns: [a]", "columns must map names"),
        ("{", "not valid YAML"),
        ("columns: {logit: {kind: categorical}}", "prepared rows or predictions have a column of this name"),
        ("columns: {a/b: {kind: categorical}}", "the name becomes that of a file"),
        ("columns: {}", "no column is a feature"),
        ("columns: {x: {kind: dense}}", "names no label"),
        ("{label: a, split: tim, columns: {x: {kind: dense}}}", "split must be time, random, rows or given:COLUMN"),
    ],
)
def test_a_spec_that_cannot_be_meant(tmp_path, text, message):
    (tmp_path / "log.csv").write_text("a,x\n1,2\n")
    (tmp_path / "columns.yaml").write_text(text)
    with pytest.raises(SystemExit, match=message):
        clicks.main(
            [str(tmp_path / "log.csv"), "--spec", str(tmp_path / "columns.yaml"), "--out", str(tmp_path / "out")]
        )


def test_names_that_yaml_would_take_for_others(tmp_path):
    (tmp_path / "log.csv").write_text("no,007,1:30,y\n" + "a,1,2,1\nb,3,4,0\n" * 5)
    spec = tmp_path / "columns.yaml"
    columns = ["--label", "y", "--categorical", "no", "007", "--dense", "1:30:none"]
    clicks.main([str(tmp_path / "log.csv"), "--spec", str(spec), *columns])
    clicks.main([str(tmp_path / "log.csv"), "--spec", str(spec), "--out", str(tmp_path / "out")])
    features = json.loads((tmp_path / "out" / "schema.json").read_text())["features"]
    assert [entry["name"] for entry in features] == ["no", "007", "1:30"]
