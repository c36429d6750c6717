"""New rows with an old vocabulary: every id stays, and what is new is id 0 or comes behind."""

from __future__ import annotations

import json
import random
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.prepare.programs import apply, clicks

COLUMNS = ["--categorical", "user", "--dense", "price:standardise", "size:bins:3", "--lists", "tags:|"]


def write(path, rows, names=("click", "user", "price", "size", "tags", "key")):
    path.write_text("\n".join([",".join(names), *(",".join(str(row[name]) for name in names) for row in rows)]) + "\n")
    return path


def rows_of(num_rows, users, seed):
    draw = random.Random(seed)
    return [
        {
            "click": draw.randrange(2),
            "user": draw.choice(users),
            "price": draw.choice(["", draw.randrange(100)]),
            "size": draw.randrange(9),
            "tags": draw.choice(["a|b", "b", users[0] + "|a", ""]),
            "key": f"k{number}",
        }
        for number in range(num_rows)
    ]


@pytest.fixture
def mine(tmp_path):
    path = write(tmp_path / "old.csv", rows_of(100, ["ann", "bob", "a user of many bytes", "once"], 0))
    command = [str(path), "--label", "click", *COLUMNS, "--out", str(tmp_path / "mine"), "--min-count", "2"]
    clicks.main([*command, "--group", "user", "--key", "key", "--split", "rows"])
    return tmp_path / "mine"


def test_the_same_rows_get_the_same_ids(tmp_path, mine, open_prepared):
    apply.main([str(mine), str(tmp_path / "old.csv"), "--out", str(tmp_path / "again")])
    old, new = open_prepared(mine), open_prepared(tmp_path / "again")
    for name in ("user", "price", "size", "tags", "label", "key"):
        parts = [old.column(split, name) for split in ("train", "val", "test")]
        assert new.column("test", name) == list(chain(*parts))
    assert list(new.schema["splits"]) == ["test"]
    for schema in (old.schema, new.schema):
        for entry in schema["features"]:
            entry.get("transform", {}).pop("num_missing", None)
    assert new.schema["features"] == old.schema["features"]
    for name in ("user", "tags", "size"):
        assert new.vocabulary(name) == old.vocabulary(name)
        assert new.counts(name) == old.counts(name)


def test_new_values_are_id_0_and_labels_may_lack(tmp_path, mine, open_prepared, capsys):
    rows = rows_of(30, ["ann", "new", "zoe"], 1)
    path = write(tmp_path / "new.csv", rows, ("tags", "user", "size", "price"))
    apply.main([str(mine), str(path), "--out", str(tmp_path / "new")])
    assert "not in every file, and left out: click" in capsys.readouterr().out
    new, ids = open_prepared(tmp_path / "new"), open_prepared(mine).vocabulary("user")
    assert new.column("test", "user") == [ids.get(row["user"], 0) for row in rows]
    assert new.schema["label"] is None
    assert "label" not in pq.read_schema(tmp_path / "new" / "test" / "part-00000.parquet").names
    entry = next(entry for entry in open_prepared(mine).schema["features"] if entry["name"] == "price")
    fitted = entry["transform"]
    expected = [0 if row["price"] == "" else (row["price"] - fitted["mean"]) / fitted["std"] for row in rows]
    np.testing.assert_allclose(new.column("test", "price"), expected, rtol=1e-6)


def test_what_train_has_taught_a_grown_folder_is_not_called_unknown(tmp_path, mine, capsys):
    """The last rows, val and test, have users of their own, as where rows are split by time."""
    rows = rows_of(48, ["ann", "bob"], 2) + rows_of(12, ["eve", "eva"], 3)
    path = write(tmp_path / "new.csv", rows)
    apply.main([str(mine), str(path), "--grow", "--out", str(tmp_path / "larger")])
    said = capsys.readouterr().out
    assert "values of val and test that neither the folder nor train knows" in said
    assert "user 100.0%" in said
    assert "is it the same column" not in said
    apply.main([str(mine), str(write(tmp_path / "last.csv", rows[48:])), "--out", str(tmp_path / "last")])
    assert "WARNING: user: none of 12 values is known; is it the same column" in capsys.readouterr().out


def test_grown_vocabularies_move_no_id(tmp_path, mine, open_prepared):
    rows = rows_of(60, ["new", "ann", "bob", "another user of many bytes"], 2)
    path = write(tmp_path / "new.csv", rows)
    apply.main([str(mine), str(path), "--grow", "--out", str(tmp_path / "larger")])
    old, new = open_prepared(mine), open_prepared(tmp_path / "larger")
    before, after = old.vocabulary("user"), new.vocabulary("user")
    assert after | before == after
    assert sorted(after.values()) == list(range(1, len(after) + 1))
    train = [row["user"] for row in rows[:48]]
    grown = {user for user in set(train) - set(before) if train.count(user) >= 2}
    assert set(after) - set(before) == grown
    assert grown
    for user, id_ in after.items():
        assert new.counts("user")[id_] == old.counts("user").get(before.get(user, -1), 0) + train.count(user)
    assert sum(new.counts("user").values()) == 80 + 48
    assert new.feature("user")["num_embeddings"] == len(after) + 1
    assert new.column("train", "user") == [after.get(user, 0) for user in train]
    apply.main([str(tmp_path / "larger"), str(path), "--out", str(tmp_path / "third")])
    assert open_prepared(tmp_path / "third").vocabulary("user") == after


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-count", "3"], "it goes with --grow"),
        (["--seed", "3"], "they go with --grow"),
        (["--grow", "--key", "nothing"], "--key: 'old.csv' has no column 'nothing'"),
    ],
)
def test_what_cannot_be_meant(tmp_path, mine, options, message):
    with pytest.raises(SystemExit, match=message):
        apply.main([str(mine), str(tmp_path / "old.csv"), "--out", str(tmp_path / "new"), *options])


def test_folders_of_others(tmp_path, mine):
    command = [str(tmp_path / "old.csv"), "--out", str(tmp_path / "new")]
    with pytest.raises(SystemExit, match=r"is no prepared folder: it has no schema\.json"):
        apply.main([str(tmp_path), *command])
    schema = json.loads((mine / "schema.json").read_text())
    del schema["columns"]
    (mine / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(SystemExit, match="does not say how its rows were taken"):
        apply.main([str(mine), *command])


def test_a_column_that_new_rows_lack(tmp_path, mine):
    path = write(tmp_path / "new.csv", rows_of(5, ["ann"], 0), ("user", "size", "tags"))
    with pytest.raises(SystemExit, match=r"'new\.csv' has no column 'price'"):
        apply.main([str(mine), str(path), "--out", str(tmp_path / "new")])


def test_unknown_values_are_counted_and_named(tmp_path, mine, capsys):
    users = ["ann"] * 3 + ["zoe"] * 1
    rows = [{**row, "user": user, "tags": "x|y"} for row, user in zip(rows_of(4, ["ann"], 0), users, strict=True)]
    apply.main([str(mine), str(write(tmp_path / "new.csv", rows)), "--out", str(tmp_path / "new")])
    said = capsys.readouterr().out
    assert "read as id 0: user 25.0%, tags 100.0%" in said
    assert "WARNING: tags: none of 8 values is known" in said
    assert "WARNING: user" not in said


def test_numbers_far_outside_those_of_train_are_named(tmp_path, mine, open_prepared, capsys):
    rows = rows_of(50, ["ann"], 3)
    for number, row in enumerate(rows):
        row["price"] = [-1e12, 1e9, 150, 50][min(number, 3)]
        row["size"] = 1e6
    path = write(tmp_path / "new.csv", rows)
    apply.main([str(mine), str(path), "--out", str(tmp_path / "new")])
    said = capsys.readouterr().out
    assert "WARNING: price: 2 numbers, such as -1e+12, lie far outside those of train, " in said
    assert "size" not in said.split("numbers, such as")[1].splitlines()[0], "the last bin is open"
    apply.main([str(mine), str(path), "--grow", "--out", str(tmp_path / "larger")])
    assert "price: 2 numbers" in capsys.readouterr().out, "against what was known before"
    apply.main([str(tmp_path / "larger"), str(path), "--out", str(tmp_path / "last")])
    assert "price:" not in capsys.readouterr().out


@pytest.mark.parametrize("grow", [[], ["--grow"]])
def test_the_folder_that_is_read_is_not_replaced(tmp_path, mine, grow):
    before = (mine / "schema.json").read_text()
    spelt = mine.parent / "x" / ".." / mine.name
    with pytest.raises(SystemExit, match="is the folder whose vocabulary is read, and its rows would be gone"):
        apply.main([str(mine), str(tmp_path / "old.csv"), "--out", str(spelt), "--overwrite", *grow])
    assert (mine / "schema.json").read_text() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("features", None),
        ("features", [{"kind": "dense"}]),
        ("features", [{"name": "user", "kind": "categorical"}]),
        ("features", [{"name": "user", "kind": "categorical", "num_embeddings": []}]),
        ("features", [{"name": "user", "kind": "multi_valued", "num_embeddings": 0}]),
        ("features", [{"name": "user", "kind": 3}]),
        ("format", {"missing": None}),
        ("format", {"missing": "NA"}),
        ("format", {"columns": [3]}),
        ("columns", []),
        ("format", "x"),
        ("split", {}),
        ("min_count", None),
        ("min_count", "2"),
        ("hash_bits", []),
        ("number_unseen", 3),
    ],
)
def test_a_schema_that_no_preparation_writes(tmp_path, mine, name, value):
    schema = json.loads((mine / "schema.json").read_text())
    (mine / "schema.json").write_text(json.dumps({**schema, name: value}))
    with pytest.raises(SystemExit, match=f"'{name}' is not as a preparation writes it"):
        apply.main([str(mine), str(tmp_path / "old.csv"), "--out", str(tmp_path / "new")])


@pytest.mark.parametrize("seed", [-1, 1 << 63])
def test_seeds_have_a_range(tmp_path, seed):
    path = write(tmp_path / "log.csv", rows_of(20, ["ann"], 0))
    with pytest.raises(SystemExit, match=r"--seed must be a whole number in \[0, 2\*\*63\), got"):
        clicks.main([str(path), "--label", "click", "--out", str(tmp_path / "out"), "--seed", str(seed)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda columns: columns.pop("user"), "'user' is one of features and none of columns"),
        (lambda columns: columns.update(x={"kind": "dense"}), "'x' is one of columns and none of features"),
        (lambda columns: columns["price"].update(transform=True), "column 'price': transform must be a text, got True"),
        (
            lambda columns: columns["tags"].update(separator=["|"]),
            r"column 'tags': separator must be a text, got \['\|",
        ),
    ],
)
def test_columns_that_do_not_fit_the_features(tmp_path, mine, change, message):
    schema = json.loads((mine / "schema.json").read_text())
    change(schema["columns"]["columns"])
    (mine / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(SystemExit, match=message):
        apply.main([str(mine), str(tmp_path / "old.csv"), "--out", str(tmp_path / "new")])


@pytest.mark.parametrize(
    ("file", "name", "column", "named"),
    [
        ("counts", "user", lambda n: [{"a": 1}] * n, r"column 'count' is of type struct<a: int64> and has 0 nulls"),
        ("counts", "user", lambda n: [None] * n, r"column 'count' is of type null and has \d+ nulls"),
        ("counts", "size", lambda n: [1.5] * n, "column 'count' is of type double"),
        ("vocabulary", "user", lambda n: [{"a": k} for k in range(n)], "column 'value' is of type struct"),
        ("vocabulary", "user", lambda n: list(range(n)), "column 'value' is of type int64"),
        ("vocabulary", "tags", lambda n: [None] * n, "column 'value' is of type null"),
    ],
)
def test_columns_that_no_preparation_writes(tmp_path, mine, file, name, column, named):
    path = mine / file / f"{name}.parquet"
    table = pq.read_table(path)
    last = table.column_names[-1]
    pq.write_table(table.set_column(table.num_columns - 1, last, pa.array(column(len(table)))), path)
    with pytest.raises(SystemExit, match=named):
        apply.main([str(mine), str(tmp_path / "old.csv"), "--out", str(tmp_path / "new"), "--grow"])
