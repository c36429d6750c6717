"""MovieLens-1M, on files made here and on the real ones."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from recsys.prepare.programs import movielens

USERS = ["1::F::1::10::48067", "2::M::56::16::02136-1522", "3::M::25::15::55117"]
MOVIES = ["10::Toy Story (1995)::Animation|Children's|Comedy", "11::L\xe9on (1994)::Crime", "12::No genre (1)::"]
RATINGS = ["1::10::5::86400", "1::11::3::90000", "2::10::4::172800", "2::12::1::259200", "3::11::2::345600"]


USER_COLUMNS = ["user", "gender", "age", "occupation", "zip"]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    for name, lines in (("users", USERS), ("movies", MOVIES), ("ratings", RATINGS)):
        (folder / f"{name}.dat").write_text("\n".join(lines) + "\n", encoding="latin-1")
    return folder


def run(raw: Path, *options: str) -> Path:
    out = raw.parent / "out"
    fractions = [] if "--fractions" in options else ["--fractions", "1", "0", "0"]
    movielens.main(["--raw", str(raw), "--out", str(out), *fractions, *options])
    return out


def test_labels_fields_and_dropped_threes(raw, open_prepared, capsys):
    folder = open_prepared(run(raw))
    assert "ratings.dat: 5 lines read, 4 kept, 1 dropped (rating 3), 0 bad lines skipped" in capsys.readouterr().out
    assert folder.column("train", "label") == [1, 1, 0, 0]
    names = [entry["name"] for entry in folder.schema["features"]]
    assert names == ["user", "item", "gender", "age", "occupation", "zip"]
    assert folder.column("train", "user") == [2, 1, 1, 3]
    assert folder.vocabulary("zip") == {"02136-1522": 1, "48067": 2, "55117": 3}
    assert folder.column("train", "zip") == [2, 1, 1, 3]
    assert folder.column("train", "gender") == [2, 1, 1, 1]
    assert folder.schema["split"]["by"] == "random"


def test_genres(raw, open_prepared):
    folder = open_prepared(run(raw, "--genres"))
    entry = {"name": "genres", "kind": "multi_valued", "num_embeddings": 5, "pooling": "mean"}
    assert folder.schema["features"][-1] == entry
    words = {id_: word for word, id_ in folder.vocabulary("genres").items()}
    genres = [[words[id_] for id_ in row] for row in folder.column("train", "genres")]
    assert genres == [["Animation", "Children's", "Comedy"], ["Animation", "Children's", "Comedy"], [], ["Crime"]]
    assert folder.counts("genres") == {0: 0, 1: 2, 2: 2, 3: 2, 4: 1}


def test_split_by_day(raw, open_prepared):
    out = raw.parent / "days"
    movielens.main(["--raw", str(raw), "--out", str(out), "--split", "day", "--fractions", ".5", ".25", ".25"])
    folder = open_prepared(out)
    assert [folder.column(split, "label") for split in ("train", "val", "test")] == [[1, 1], [0], [0]]


def test_values_that_train_does_not_have_may_have_ids(raw, open_prepared):
    days = ["--split", "day", "--fractions", ".5", ".25", ".25"]
    known = open_prepared(run(raw, *days, "--number-unseen", "item"))
    ids = [known.column(split, "item") for split in ("train", "val", "test")]
    assert ids == [[known.vocabulary("item")[value] for value in part] for part in (["10", "10"], ["12"], ["11"])]
    assert known.counts("item") == {0: 0, 1: 2, 2: 0, 3: 0}
    assert known.schema["number_unseen"] == ["item"]
    assert 0 in known.column("test", "user"), "the other features are as ever"
    with pytest.raises(SystemExit, match="no feature 'items'"):
        run(raw, "--overwrite", "--number-unseen", "items")


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("ratings", "9::10::5::1", "ratings.dat, line 6: column 'user' holds '9', which is not in users.dat"),
        ("ratings", "1::99::5::1", "ratings.dat, line 6: column 'item' holds '99', which is not in movies.dat"),
        ("ratings", "1::10::6::1", "ratings.dat, line 6: column 'rating' holds '6', not a rating from 1 to 5"),
        ("ratings", "1::10::5", r"ratings.dat, line 6: expected 4 columns"),
        ("ratings", "1::10::5::", "ratings.dat, line 6: column 'timestamp' holds '', not a time in seconds"),
        ("users", "4::M::1", "users.dat, line 4: expected 5 columns"),
    ],
)
def test_bad_lines(raw, open_prepared, file, line, message):
    with (raw / f"{file}.dat").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(SystemExit, match=message):
        run(raw, "--genres")
    folder = open_prepared(run(raw, "--genres", "--on-bad-line", "skip"))
    assert folder.schema["source"]["lines"][f"{file}.dat"]["skipped"] == 1
    assert folder.schema["splits"]["train"]["num_rows"] == 4


def test_a_user_there_twice(raw):
    with (raw / "users.dat").open("a") as stream:
        stream.write("1::M::1::1::1\n")
    with pytest.raises(SystemExit, match=r"users\.dat: user '1' is there twice"):
        run(raw)


def test_published_counts(tmp_path, shared_data, capsys):
    """739,012 rows and 13,177 ids, as published, from the whole of MovieLens-1M."""
    for name, columns in (("ratings", ["user", "item", "rating", "orig_pos"]), ("users", USER_COLUMNS)):
        frame = pl.read_parquet(shared_data / "ml-1m" / f"{name}.parquet", columns=columns)
        lines = frame.select(pl.concat_str(pl.col(*columns).cast(pl.String), separator="::"))
        lines.write_csv(tmp_path / f"{name}.dat", include_header=False, quote_style="never")
    movielens.main(["--raw", str(tmp_path), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "739,012 kept, 261,197 dropped (rating 3)" in printed
    assert "13,177 distinct values in 6 features" in printed
