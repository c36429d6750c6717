"""Values of items, and items of lists, are what the file says, spaces and all."""

import polars as pl
import pytest

from recsys.prepare.programs.sessions import main

BRANDS = ["a", " a", "a ", "a  b", "", " "]


def prepared(folder, log, *options):
    main(["--raw", str(log), "--out", str(folder / "out"), "--user", "user", "--item", "item", *options])
    return lambda name: pl.read_parquet(folder / "out" / "vocabulary" / f"{name}.parquet")["value"].to_list()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_space_belongs_to_a_value_of_an_item(tmp_path, kind):
    rows = [(f"u{n % 3}", f"i{n * 7 % 6}", BRANDS[n * 7 % 6], f"{BRANDS[n * 7 % 6]}|c") for n in range(36)]
    log = pl.DataFrame(rows, schema=["user", "item", "brand", "tags"], orient="row")
    if kind == "csv":
        log.write_csv(tmp_path / "log.csv", null_value="")
    else:
        log.write_parquet(tmp_path / "log.parquet")
    words = prepared(tmp_path, tmp_path / f"log.{kind}", "--item-columns", "brand", "tags:multi_valued")
    assert set(words("brand")) == {"a", " a", "a ", "a  b", " "}
    assert set(words("tags")) == {"a", " a", "a ", "a  b", " ", "c"}


def test_spaces_between_items_are_none_of_theirs(tmp_path):
    (tmp_path / "bars.csv").write_text("user,item\n" + "u0, a|b|c \nu1,a|b|c\nu2,a|b|c\n")
    words = prepared(tmp_path, tmp_path / "bars.csv", "--list-separator", "|")
    assert set(words("item")) == {" a", "a", "b", "c", "c "}
    (tmp_path / "spaces.csv").write_text("user,item\n" + "u0, a b c \nu1,a b c\nu2,a b c\n")
    words = prepared(tmp_path, tmp_path / "spaces.csv", "--list-separator", " ", "--overwrite")
    assert set(words("item")) == {"a", "b", "c"}
