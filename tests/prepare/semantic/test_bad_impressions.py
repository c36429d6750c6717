"""Counts and vocabularies that cannot be meant, options that would not act, and items that are not the published."""

import datetime

import numpy as np
import polars as pl
import pytest

from recsys.commands.semantic_ids import main as command
from recsys.prepare.programs.semantic_ids import main
from recsys.prepare.semantic.codes import read_codes

MATRIX = np.arange(36, dtype=np.float64).reshape(12, 3) % 7
ITEMS = pl.DataFrame({"item": range(1, 13), "v": MATRIX.tolist(), "kind": ["a", "b"] * 6})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("made")
    ITEMS.write_parquet(made / "items.parquet")
    words = ["--items", made / "items.parquet", "--vectors", "v", "--levels", 2, "--codes", 3, "--out", made / "codes"]
    main(list(map(str, words)))
    return made


def refused(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, words)))
    assert end.value.code == 2
    return capsys.readouterr().err


COUNTS = [
    ({"count": [3, -1]}, "column 'count' must be at least 0"),
    ({"count": [3, 2**62]}, "counts more than 281,474,976,710,656 impressions in all"),
    ({"count": [1.5, 2]}, "column 'count' must hold whole numbers without a null, got Float64"),
    ({"count": [None, 2]}, "column 'count' must hold whole numbers without a null"),
    ({"count": ["a", "b"]}, "column 'count' must hold whole numbers without a null, got String"),
    ({"count": [[1], [2]]}, "column 'count' must hold whole numbers without a null, got List"),
    ({"id": [1, 1]}, "id 1 is there twice"),
    ({"id": [-1, 1]}, "column 'id' must be at least 0"),
    ({"id": ["1", "2"]}, "column 'id' must hold whole numbers without a null, got String"),
]


@pytest.mark.parametrize(("columns", "named"), COUNTS)
def test_bad_counts(folder, tmp_path, capsys, columns, named):
    pl.DataFrame({"id": [1, 2], "count": [3, 4]} | columns, strict=False).write_parquet(tmp_path / "counts.parquet")
    words = ["--method", "pieces", "--from", folder / "codes", "--counts", tmp_path / "counts.parquet"]
    error = refused(capsys, *words, "--out", tmp_path / "out")
    assert named in error
    assert "counts.parquet" in error


VOCABULARIES = [
    ({"value": ["1", "1"]}, "value '1' is there twice"),
    ({"value": ["1", None]}, "1 rows of column 'value' are missing"),
    ({"value": [["1"], ["2"]]}, "column 'value' of "),
    ({"id": [1, 1]}, "id 1 is there twice"),
    ({"id": [-1, 1]}, "column 'id' must be at least 0"),
]


@pytest.mark.parametrize(("columns", "named"), VOCABULARIES)
def test_a_bad_vocabulary(folder, tmp_path, capsys, columns, named):
    pl.DataFrame({"id": [1, 2], "count": [3, 4]}).write_parquet(tmp_path / "counts.parquet")
    pl.DataFrame({"id": [1, 2], "value": ["1", "2"]} | columns).write_parquet(tmp_path / "vocabulary.parquet")
    words = ["--counts", tmp_path / "counts.parquet", "--vocabulary", tmp_path / "vocabulary.parquet"]
    error = refused(capsys, "--method", "pieces", "--from", folder / "codes", *words, "--out", tmp_path / "out")
    assert named in error
    assert "vocabulary.parquet" in error


IDLE = [
    ("--vectors v --bins 3", "--bins does nothing with --method residual-kmeans"),
    ("--vectors v --model bpe", "--model does nothing with --method residual-kmeans"),
    ("--method category-prefix --categories kind --seed 0", "--seed does nothing with --method category-prefix"),
    ("--extend CODES --method random", "--method does nothing with --extend"),
    ("--extend CODES --seed 0", "--seed does nothing with --extend"),
    ("--extend CODES --model bpe", "--model does nothing with --extend"),
    ("--extend CODES --from x", "--from does nothing with --extend of codes of the method residual-kmeans"),
]


@pytest.mark.parametrize(("words", "named"), IDLE)
def test_an_option_that_would_not_act(folder, tmp_path, capsys, words, named):
    words = words.replace("CODES", str(folder / "codes")).split()
    assert named in refused(capsys, "--items", folder / "items.parquet", *words, "--out", tmp_path / "out")


def test_new_items_are_named_as_the_published_are(folder, tmp_path, capsys):
    words = ["--extend", folder / "codes", "--items", tmp_path / "items.parquet", "--out", tmp_path / "out"]
    for name in ("007", "x"):
        ITEMS.with_columns(item=pl.Series([name, *map(str, range(2, 13))])).write_parquet(tmp_path / "items.parquet")
        assert f"of type Int64, and item '{name}' is none of them" in refused(capsys, *words)
    ITEMS.with_columns(pl.col("item").cast(pl.String)).write_parquet(tmp_path / "items.parquet")
    main(list(map(str, words)))
    assert read_codes(tmp_path / "out/codes.parquet").items.to_list() == list(range(1, 13))


@pytest.mark.parametrize(
    "items",
    [
        pl.Series(range(1, 13)).cast(pl.Decimal(9, 2)),
        pl.Series(map(str, range(1, 13))).cast(pl.Categorical),
        pl.Series(map(float, range(1, 13))),
    ],
)
def test_one_item_has_one_name_whatever_its_type(folder, tmp_path, items):
    ITEMS.with_columns(item=items).write_parquet(tmp_path / "items.parquet")
    words = ["--items", tmp_path / "items.parquet", "--vectors", "v", "--levels", 2, "--codes", 3]
    main(list(map(str, [*words, "--out", tmp_path / "out"])))
    assert (
        read_codes(tmp_path / "out/codes.parquet").fingerprint()
        == read_codes(folder / "codes/codes.parquet").fingerprint()
    )


CONTENT = [
    ({"item": [datetime.timedelta(days=n) for n in range(12)]}, "--vectors v", "column 'item' of "),
    ({"v": [[1e38, -1e38, 1.0]] * 12}, "--vectors v", "row 0 of 'v' is 1.41e+38 long; scale the vectors down"),
    ({}, "--text v", "--text: column 'v' is of type List(Float64)"),
]


@pytest.mark.parametrize(("columns", "words", "named"), CONTENT)
def test_content_that_cannot_be_meant(tmp_path, capsys, columns, words, named):
    ITEMS.with_columns(**{name: pl.Series(values) for name, values in columns.items()}).write_parquet(
        tmp_path / "items.parquet"
    )
    error = refused(capsys, "--items", tmp_path / "items.parquet", *words.split(), "--out", tmp_path / "out")
    assert named in error


def test_rows_that_are_left_out_are_counted(tmp_path, capsys):
    (tmp_path / "items.csv").write_text("item,kind\n,a\n1,b\n2,a\n2,b\n3,a\n")
    words = ["--items", tmp_path / "items.csv", "--method", "category-prefix", "--categories", "kind"]
    main(list(map(str, [*words, "--out", tmp_path / "out"])))
    assert "items.csv: left out 1 rows without an item and 1 that repeat one" in capsys.readouterr().out


def test_a_report_with_the_items_of_other_codes(folder, tmp_path):
    ITEMS.with_columns(pl.col("item") + 100).write_parquet(tmp_path / "items.parquet")
    words = ["report", folder / "codes", "--items", tmp_path / "items.parquet", "--out", tmp_path / "out"]
    with pytest.raises(ValueError, match="with a name is among those of"):
        command([*map(str, words), "--name", "kind"])
    with pytest.raises(ValueError, match="--name: column 'v' is of type List"):
        command([*map(str, words), "--name", "v"])
