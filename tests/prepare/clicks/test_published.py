"""New rows of publishers' files with an old vocabulary."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

from recsys.prepare.clicks.avazu_rows import LAYOUT, VALUES
from recsys.prepare.programs import apply, avazu, criteo, movielens, sessions


@dataclass
class Publisher:
    """Makes files of rows, the last column of which says the value of the feature ``told``."""

    told: str
    make: Callable[..., Path]
    prepare: Callable[[list[str]], None]


VALUES_OF = ["a", "b", "b", "c", "c", "c", "a value of many bytes", "once"]


def criteo_file(folder: Path, name: str, values: list[str], labelled: bool = True) -> Path:
    draw = random.Random(len(values))
    path = folder / name
    lines = []
    for row, value in enumerate(values):
        integers = [draw.choice(["", str(draw.randrange(-3, 9))]) for _ in range(13)]
        label = [str(row % 2)] if labelled else []
        lines.append("\t".join([*label, *integers, value, *["0a"] * 25]))
    path.write_text("\n".join(lines) + "\n")
    return path


def avazu_file(folder: Path, name: str, values: list[str], labelled: bool = True) -> Path:
    columns = [column for column in LAYOUT.columns if labelled or column != "click"]
    lines = [",".join(columns)]
    for row, value in enumerate(values):
        entry = dict.fromkeys(VALUES, "1") | {"device_ip": value, "id": f"9{row}", "click": str(row % 2)}
        entry["hour"] = f"1410{21 + row % 5}{row % 24:02}"
        lines.append(",".join(entry[column] for column in columns))
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def movielens_folder(folder: Path, name: str, values: list[str], labelled: bool = True) -> Path:
    made = folder / f"{name}_ml"
    made.mkdir()
    users = sorted(set(values))
    ratings = [f"{value}::{row % 3}::{1 + 4 * (row % 2)}::{86400 * row}" for row, value in enumerate(values)]
    movies = [f"{item}::T::Comedy|Drama" for item in range(3)]
    parts = {"users": [f"{user}::F::1::2::3" for user in users], "movies": movies, "ratings": ratings}
    for part, lines in parts.items():
        (made / f"{part}.dat").write_text("\n".join(lines) + "\n", encoding="latin-1")
    return made


PUBLISHERS = {
    "criteo": Publisher(
        "C1", criteo_file, lambda words: criteo.main([*words, "--bin-integers", "--missing-indicators"])
    ),
    "avazu": Publisher("device_ip", avazu_file, lambda words: avazu.main([*words, "--split", "rows"])),
    "movielens": Publisher(
        "user", movielens_folder, lambda words: movielens.main([*words, "--genres", "--split", "rows"])
    ),
}


@pytest.fixture(params=PUBLISHERS)
def publisher(request) -> Publisher:
    return PUBLISHERS[request.param]


@pytest.fixture
def old(tmp_path, publisher) -> Path:
    raw = publisher.make(tmp_path, "old", VALUES_OF)
    publisher.prepare(["--raw", str(raw), "--out", str(tmp_path / "prepared")])
    return tmp_path / "prepared"


def test_the_same_rows_are_prepared_alike(tmp_path, publisher, old, open_prepared):
    raw = next(path for path in tmp_path.iterdir() if path.name.startswith("old"))
    apply.main([str(old), str(raw), "--out", str(tmp_path / "again")])
    before, after = open_prepared(old), open_prepared(tmp_path / "again")
    names = [entry["name"] for entry in before.schema["features"]]
    for name in [*names, "label"]:
        parts = [before.column(split, name) for split in ("train", "val", "test")]
        assert after.column("test", name) == list(chain(*parts)), name
    assert after.schema["features"] == before.schema["features"]
    assert after.schema["dataset"] == before.schema["dataset"]


def test_new_values_are_id_0_and_known_ones_keep_their_ids(tmp_path, publisher, old, open_prepared):
    values = ["new", "c", "b", "a value of many bytes", "another value of many bytes"]
    raw = publisher.make(tmp_path, "new", values)
    apply.main([str(old), str(raw), "--out", str(tmp_path / "out")])
    ids = open_prepared(old).vocabulary(publisher.told)
    assert open_prepared(tmp_path / "out").column("test", publisher.told) == [ids.get(value, 0) for value in values]
    assert ids["c"] > 0


def test_grown_vocabularies_move_no_id(tmp_path, publisher, old, open_prepared):
    raw = publisher.make(tmp_path, "new", ["new", "b", "new", "c", "d"])
    command = [str(old), str(raw), "--grow", "--fractions", "1", "0", "0", "--out", str(tmp_path / "grown")]
    apply.main(command)
    before = open_prepared(old).vocabulary(publisher.told)
    grown = open_prepared(tmp_path / "grown")
    after = grown.vocabulary(publisher.told)
    assert after == {**before, "new": len(before) + 1, "d": len(before) + 2}
    assert grown.column("train", publisher.told) == [after[value] for value in ["new", "b", "new", "c", "d"]]
    apply.main([str(tmp_path / "grown"), str(raw), "--out", str(tmp_path / "third")])
    assert open_prepared(tmp_path / "third").vocabulary(publisher.told) == after
    with pytest.raises(SystemExit, match="holds rows to score and none to train on"):
        apply.main([str(tmp_path / "third"), str(raw), "--grow", "--out", str(tmp_path / "fourth")])


@pytest.mark.parametrize("publisher", ["criteo", "avazu"], indirect=True)
def test_rows_without_labels(tmp_path, publisher, old, open_prepared):
    raw = publisher.make(tmp_path, "new", ["c", "b"], labelled=False)
    apply.main([str(old), str(raw), "--out", str(tmp_path / "out")])
    new, ids = open_prepared(tmp_path / "out"), open_prepared(old).vocabulary(publisher.told)
    assert new.schema["label"] is None
    assert new.column("test", publisher.told) == [ids["c"], ids["b"]]
    with pytest.raises(SystemExit, match="--grow makes rows to train on, and 'new' has no labels"):
        apply.main([str(old), str(raw), "--grow", "--out", str(tmp_path / "grown")])
    labelled = publisher.make(tmp_path, "labelled", ["c"])
    with pytest.raises(SystemExit, match="'new' has no labels and 'labelled' has; prepare them apart"):
        apply.main([str(old), str(raw), str(labelled), "--out", str(tmp_path / "both")])


@pytest.mark.parametrize("publisher", ["avazu"], indirect=True)
def test_the_id_of_avazu_comes_back(tmp_path, publisher, old, open_prepared):
    raw = publisher.make(tmp_path, "new", ["c", "b"], labelled=False)
    apply.main([str(old), str(raw), "--key", "id", "--out", str(tmp_path / "out")])
    new = open_prepared(tmp_path / "out")
    assert new.column("test", "id") == ["90", "91"]
    assert new.schema["keys"] == ["id"]


def test_what_cannot_be_meant(tmp_path, publisher, old):
    raw = publisher.make(tmp_path, "new", ["c"])
    command = [str(old), str(raw), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="say how anybody's files look; the new files have the layout of"):
        apply.main([*command, "--missing", "NA"])
    with pytest.raises(SystemExit, match="have no such column to keep"):
        apply.main([*command, "--key", "nothing"])
    schema = json.loads((old / "schema.json").read_text())
    schema["recipe"]["program"] = "other"
    (old / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(SystemExit, match="names program 'other', not one of criteo, avazu, movielens"):
        apply.main(command)
    del schema["recipe"]
    (old / "schema.json").write_text(json.dumps(schema))
    with pytest.raises(SystemExit, match="does not say how its rows were taken from their files"):
        apply.main(command)


@pytest.mark.parametrize("publisher", ["movielens"], indirect=True)
def test_movielens_is_a_folder(tmp_path, publisher, old):
    with pytest.raises(SystemExit, match=r"FILE: give the one folder with ratings\.dat, users\.dat and movies\.dat"):
        apply.main([str(old), str(old / "schema.json"), "--out", str(tmp_path / "out")])


def test_folders_of_sequences_are_refused(tmp_path):
    events = tmp_path / "events.csv"
    events.write_text("user,item,time\n" + "".join(f"u{n % 5},i{n % 4},{n}\n" for n in range(60)))
    columns = ["--user", "user", "--item", "item", "--time", "time"]
    sessions.main(["--raw", str(events), *columns, "--out", str(tmp_path / "seq"), "--min-item-count", "1"])
    with pytest.raises(SystemExit, match="holds sequences, and apply knows rows of clicks alone; prepare old and new"):
        apply.main([str(tmp_path / "seq"), str(events), "--out", str(tmp_path / "out")])
