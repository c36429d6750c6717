"""Files and options that cannot be meant, a line each: what is given, and what the sentence that answers must name."""

import decimal
import json
import os
import shlex
import shutil

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.prepare.files.column_values import texts_of
from recsys.prepare.programs import apply, clicks, criteo, sessions

CLICKS = "user,item,click,t\n" + "".join(f"u{i % 3},i{i % 4},{i % 2},{1_600_000_000 + i}\n" for i in range(20))
EVENTS = "user,item,t\n" + "".join(f"u{i % 3},i{i * 7 % 5},{1_600_000_000 + i * 60}\n" for i in range(30))
OF_CLICKS = ["--label", "click", "--categorical", "user", "item", "--split", "rows"]
OF_EVENTS = ["--user", "user", "--item", "item", "--time", "t"]

RUNS = {
    "clicks": (clicks, CLICKS, ["LOG", *OF_CLICKS]),
    "inferred": (clicks, CLICKS, ["LOG", "--label", "click"]),
    "timed": (clicks, CLICKS, ["LOG", *OF_CLICKS[:-2], "--time", "t"]),
    "given": (clicks, CLICKS, ["LOG", *OF_CLICKS[:-1], "given:t"]),
    "sessions": (sessions, EVENTS, ["--raw", "LOG", *OF_EVENTS]),
    "untimed": (sessions, EVENTS, ["--raw", "LOG", *OF_EVENTS[:4]]),
    "unnamed": (sessions, EVENTS, ["--raw", "LOG"]),
    "pattern of sessions": (sessions, EVENTS.replace("item", "^i.*$", 1), ["--raw", "LOG", *OF_EVENTS]),
    "criteo": (criteo, CLICKS, ["--raw", "LOG"]),
    "old mac": (clicks, CLICKS.replace("\n", "\r"), ["LOG", *OF_CLICKS]),
    "old mac sessions": (sessions, EVENTS.replace("\n", "\r"), ["--raw", "LOG", *OF_EVENTS]),
}
BAD_OPTIONS = [
    ("clicks", "--label item", "--label is given twice; give it once;"),
    ("clicks", "--categorical t", "--categorical is given twice; give it once, with all its values"),
    ("sessions", "--user=item", "--user is given twice"),
    ("clicks", "--lists t:", "--lists t:: no separator after the colon; write t:'|', or t alone"),
    ("sessions", "--item-columns t:", "--item-columns t:: nothing after the last colon; write t."),
    ("sessions", "--item-columns t:bins:", "nothing after the last colon; write t:bins."),
    ("sessions", "--list-separator ''", "--list-separator must be a text, got ''"),
    ("sessions", "--list-separator ';'", "--list-separator ';': no cell of column 'item' of "),
    ("clicks", "--seed 3", "--seed 3 has no use with --split rows; give --split random"),
    ("criteo", "--seed 3", "--seed 3 has no use with --split rows; give --split random"),
    ("given", "--fractions .5 .2 .3", "--fractions has no use with --split given"),
    ("clicks", "--time-unit ms", "--time-unit and --time-format say how times are written; give --time"),
    ("untimed", "--time-format %d", "--time-unit and --time-format say how times are written; give --time"),
    ("sessions", "--val-fraction .2", "--val-fraction has no use with --split leave-one-out"),
    ("sessions", "--split given:t --test-fraction .2", "--test-fraction has no use with --split given"),
    ("sessions", "--seed 1", "--seed has no use with --split leave-one-out"),
    ("untimed", "--split random --seed -1", "--seed must be at least 0, got -1"),
    ("unnamed", "--user user --item user", "--user and --item both name column 'user'"),
    ("unnamed", "--user user --item t --time t", "--item and --time both name column 't'"),
    ("clicks", "--key user", "--key 'user' is a feature"),
    ("inferred", "--positive-from 0", "--positive-from 0"),
    ("sessions", "--time-unit s --time-format %s", "--time-unit s is of numbers, and --time-format '%s' of texts"),
    ("untimed", "--time-unit s", "--time-unit and --time-format say how times are written; give --time"),
    ("timed", "--time-format ''", "--time-format must say how times are written"),
    ("clicks", "--time-format ''", "--time-unit and --time-format say how times are written; give --time"),
    ("sessions", "--time-format ''", "--time-format must say how times are written"),
    ("clicks", "--group click", "column 'click' is both label and group"),
    ("clicks", "--positive-from nan", "--positive-from must be a finite number, got nan"),
    ("old mac", "", "log.csv: lines end in a carriage return alone; convert it with: tr"),
    ("old mac sessions", "", "log.csv: lines end in a carriage return alone; convert it with: tr"),
    ("pattern of sessions", "", "log.csv, line 1: column '^i.*$' has the form of a pattern, which would be read as"),
    ("clicks", "--config no/such.yaml", "--config 'no/such.yaml': there is no folder 'no'; make it first"),
]


@pytest.mark.parametrize(("run", "options", "named"), BAD_OPTIONS)
def test_a_bad_option(tmp_path, capsys, run, options, named):
    program, content, usual = RUNS[run]
    (tmp_path / "log.csv").write_text(content)
    words = [str(tmp_path / "log.csv") if word == "LOG" else word for word in usual]
    assert named in refused(program, capsys, *words, "--out", tmp_path / "out", *shlex.split(options))
    assert not (tmp_path / "out").exists()


def refused(program, capsys, *words):
    """What a program says that ends with exit code 2."""
    with pytest.raises(SystemExit) as end:
        program.main(list(map(str, words)))
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("error: ")
    return error


def test_lists_that_something_else_divides(tmp_path, capsys):
    (tmp_path / "log.csv").write_text("click,tags\n" + "1,a|b\n0,c|a\n" * 20)
    words = [str(tmp_path / "log.csv"), "--label", "click", "--out", str(tmp_path / "out")]
    named = "WARNING: tags is of lists, and no row has two values"
    clicks.main([*words, "--lists", "tags:;"])
    assert named in capsys.readouterr().out
    clicks.main([*words, "--lists", "tags:|", "--overwrite"])
    assert named not in capsys.readouterr().out


def test_a_line_of_many_columns(tmp_path, capsys):
    """Their names are compared in one pass, and a message does not hold all of them."""
    names = [f"c{place}" for place in range(20_000)]
    (tmp_path / "log.csv").write_text(f"{','.join(names)}\n{','.join('1' * len(names))}\n")
    error = refused(sessions, capsys, "--raw", tmp_path / "log.csv", *OF_EVENTS, "--out", tmp_path / "out")
    assert "has no column 'user' (columns: c0, c1, " in error
    assert "c49 and 19,950 more)" in error


def test_nothing_is_written_into_what_is_read(tmp_path, capsys):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "a.csv").write_text(CLICKS)
    inside = ["--out", tmp_path / "log" / "deep" / "out"]
    named = f"lies in '{tmp_path / 'log'}', all of which is read"
    assert named in refused(clicks, capsys, tmp_path / "log", *inside, *OF_CLICKS)
    assert named in refused(sessions, capsys, "--raw", tmp_path / "log", *inside, *OF_EVENTS)
    assert named in refused(criteo, capsys, "--raw", tmp_path / "log", *inside)
    # A file of a folder is not the folder.
    clicks.main([str(tmp_path / "log" / "a.csv"), "--out", str(tmp_path / "log" / "out"), *OF_CLICKS])
    folder, new = tmp_path / "log" / "out", tmp_path / "log" / "a.csv"
    assert f"lies in '{folder}'" in refused(apply, capsys, folder, new, "--out", folder / "new")


def test_a_pipe_is_no_file(tmp_path, capsys):
    """Nobody writes to it, and who opens it waits."""
    os.mkfifo(tmp_path / "log.csv")
    named = f"'{tmp_path / 'log.csv'}' is no file, but a pipe or a device; files are read more than once"
    out = ["--out", tmp_path / "out"]
    assert named in refused(clicks, capsys, tmp_path / "log.csv", *out, *OF_CLICKS)
    assert named in refused(sessions, capsys, "--raw", tmp_path / "log.csv", *out, *OF_EVENTS)


SAME = {
    "integers": pl.Series([7, 10, -1], dtype=pl.Int32),
    "floats": pl.Series([7.0, 10.0, -1.0]),
    "short floats": pl.Series([7.0, 10.0, -1.0], dtype=pl.Float32),
    "decimals": pl.Series([decimal.Decimal("7.00"), decimal.Decimal("10.0"), decimal.Decimal("-1")]),
    "whole decimals": pl.Series(["7", "10", "-1"]).cast(pl.Decimal(9, 0)),
    "categories": pl.Series(["7", "10", "-1"], dtype=pl.Categorical),
}


@pytest.mark.parametrize("kind", SAME)
def test_one_value_has_one_text(kind):
    assert texts_of(SAME[kind], "x").to_list() == ["7", "10", "-1"]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (pl.Series([2.0**24], dtype=pl.Float32), r"x holds 16777216\.0, a float of 2\*\*24 or more"),
        (pl.Series([-(2.0**53)]), r"x holds -9007199254740992\.0, a float of 2\*\*53 or more"),
        (pl.Series([float("inf")]), "x holds an infinite number"),
    ],
)
def test_floats_that_tell_no_ids_apart(values, named):
    with pytest.raises(ValueError, match=named):
        texts_of(values, "x")
    assert texts_of(pl.Series([2.0**24 - 1], dtype=pl.Float32), "x").to_list() == ["16777215"]


def test_decimals_keep_what_is_behind_the_point():
    values = pl.Series(["7.10", "0.00", "-0.50", "100.00"]).cast(pl.Decimal(9, 2))
    assert texts_of(values, "x").to_list() == ["7.1", "0", "-0.5", "100"]


def test_nan_in_json_is_missing_and_infinite_numbers_are_none(tmp_path, capsys, open_prepared):
    rows = ['{"user": NaN, "click": 1}', '{"user": 7, "click": 0}', '{"user": null, "click": 1}', '{"click": 0}'] * 3
    (tmp_path / "log.jsonl").write_text("\n".join(rows))
    options = ["--label", "click", "--categorical", "user", "--split", "rows", "--fractions", "1", "0", "0"]
    clicks.main([str(tmp_path / "log.jsonl"), "--out", str(tmp_path / "out"), "--min-count", "1", *options])
    prepared = open_prepared(tmp_path / "out")
    assert prepared.vocabulary("user") == {"7": 1}
    assert prepared.column("train", "user") == [0, 1, 0, 0] * 3
    (tmp_path / "log.jsonl").write_text('{"user": Infinity, "click": 1}\n' * 3 + '{"user": 1, "click": 1}\n')
    assert "line 1: is not valid JSON (Infinity is no number)" in refused(
        clicks, capsys, tmp_path / "log.jsonl", "--out", tmp_path / "new", *options
    )


def test_lists_without_items_are_counted(tmp_path, capsys):
    lists = [[], ["a", "b", "c", "a"], ["b", "c", "a"]] * 4
    frame = pl.DataFrame({"user": [f"u{i}" for i in range(12)], "item": lists})
    frame.write_parquet(tmp_path / "log.parquet")
    columns = ["--user", "user", "--item", "item"]
    sessions.main(["--raw", str(tmp_path / "log.parquet"), "--out", str(tmp_path / "out"), *columns])
    assert "4 of 12 rows have an empty list of items" in capsys.readouterr().out
    frame.with_columns(item=pl.Series([[]] * 12, dtype=pl.List(pl.String))).write_parquet(tmp_path / "empty.parquet")
    error = refused(sessions, capsys, "--raw", tmp_path / "empty.parquet", "--out", tmp_path / "new", *columns)
    assert "--item: every list of column 'item'" in error
    frame.with_columns(item=pl.Series([["a", None]] * 12)).write_parquet(tmp_path / "null.parquet")
    error = refused(sessions, capsys, "--raw", tmp_path / "null.parquet", "--out", tmp_path / "new", *columns)
    assert "null.parquet, line 1: column 'item' holds '['a', None]', no item" in error


def test_sequences_that_nothing_is_learned_of_are_said(tmp_path, capsys):
    """Leave-one-out leaves one event of three to train on."""
    (tmp_path / "log.csv").write_text("user,item\n" + "".join(f"u{i // 3},i{i % 4}\n" for i in range(30)))
    words = ["--raw", str(tmp_path / "log.csv"), "--user", "user", "--item", "item", "--out", str(tmp_path / "out")]
    sessions.main(words)
    assert "WARNING: no train row has two events" in capsys.readouterr().out


def test_item_columns_of_a_log_that_vary_are_said(tmp_path, capsys):
    """A brand is the item's; a user, a list of tags and a price are those of an event."""
    rows = range(30)
    log = {"user": [i // 3 for i in rows], "item": [i % 4 for i in rows], "brand": [i % 4 % 2 for i in rows]}
    log |= {"price": [1.0 if i % 4 else i * 0.5 for i in rows], "tags": [[i % 4, 7 * (i == 9)] for i in rows]}
    pq.write_table(pa.table(log), tmp_path / "log.parquet")
    words = ["--raw", str(tmp_path / "log.parquet"), "--user", "user", "--item", "item", "--out", str(tmp_path / "out")]
    sessions.main([*words, "--item-columns", "brand", "price", "tags:multi_valued"])
    said = capsys.readouterr().out
    assert "--item-columns 'price': 1 of 4 items have several values; the first counts" in said
    assert "--item-columns 'tags': 1 of 4 items have several values" in said
    assert "'brand'" not in said


SPEC = "label: click\nsplit: rows\ncolumns:\n  user: {kind: categorical}\n"
SPECS = [
    (SPEC.replace("click", "[click]"), "label must be one name, got '['click']'"),
    (SPEC + "weight: [w]\n", "weight must be one name, got '['w']'"),
    (SPEC.replace("rows", "[rows]"), "split must be one word, got '['rows']'"),
    (SPEC.replace("categorical", "lists, separator: ''"), "column 'user': separator must be a text, got ''"),
    (SPEC + "positive_from: nan\n", "--positive-from must be a finite number, got nan"),
    (SPEC + "group: ''\n", "group must be a name, got ''; leave it out where there is none"),
    (SPEC + "time: ''\n", "time must be a name, got ''"),
    (SPEC + "group: click\n", "column 'click' is both label and group"),
]


@pytest.mark.parametrize(("spec", "named"), SPECS)
def test_a_bad_spec(tmp_path, capsys, spec, named):
    (tmp_path / "log.csv").write_text(CLICKS)
    (tmp_path / "spec.yaml").write_text(spec)
    words = [tmp_path / "log.csv", "--spec", tmp_path / "spec.yaml", "--out", tmp_path / "out"]
    assert f"--spec '{tmp_path / 'spec.yaml'}': {named}" in refused(clicks, capsys, *words)


ITEMS = "item,brand,price\n" + "".join(f"i{i},b{i % 2},{i}.5\n" for i in range(5))


def of_items(folder, items, *columns):
    (folder / "log.csv").write_text(EVENTS)
    (folder / "items.csv").write_text(items)
    files = ["--raw", folder / "log.csv", "--items", folder / "items.csv", "--out", folder / "out"]
    return [*files, *OF_EVENTS, "--item-columns", *columns]


@pytest.mark.parametrize(
    ("items", "columns", "named"),
    [
        (ITEMS.replace("0.5", "inf"), "price:dense", "column 'price' holds 'inf', too large to stay a finite float32"),
        (
            ITEMS.replace("0.5", "1e39"),
            "price:dense",
            "holds '1e39', too large to stay a finite float32",
        ),
        (ITEMS.replace("0.5", "-inf"), "price:bins:2", "column 'price' holds '-inf', too large"),
        (ITEMS, "brand:dense", "--item-columns: column 'brand' holds 'b0', not a number"),
        (ITEMS, "brand:text --text-dim -1", "--text-dim must be at least 1, got -1"),
        (
            ITEMS,
            "brand:text --text-dim 1000000000000",
            "--text-dim must be in [1, 2] for these texts, got 1000000000000",
        ),
    ],
)
def test_bad_items(tmp_path, capsys, items, columns, named):
    assert named in refused(sessions, capsys, *of_items(tmp_path, items, *columns.split()))


def test_numbers_of_items_that_are_missing(tmp_path, capsys):
    items = ITEMS.replace("0.5", "nan").replace("1.5", "") + "i2,b9,9\ni2,b9,8\n"
    sessions.main(list(map(str, of_items(tmp_path, items, "price:dense", "brand"))))
    assert "2 rows of" in capsys.readouterr().out
    names = pl.read_parquet(tmp_path / "out" / "vocabulary" / "item.parquet")
    prices = dict(zip(names["value"], pl.read_parquet(tmp_path / "out" / "items.parquet")["price"][1:], strict=True))
    assert prices == {"i0": 0.0, "i1": 0.0, "i2": 2.5, "i3": 3.5, "i4": 4.5}


def test_an_item_that_nan_is_the_brand_of_has_none(tmp_path):
    (tmp_path / "log.csv").write_text(EVENTS)
    brands = pl.DataFrame({"item": [f"i{i}" for i in range(5)], "brand": [1.0, float("nan"), 2.0, None, 2.0]})
    brands = brands.with_columns(tags=pl.Series([[1.0, float("nan")], [float("nan")], [], None, [1.0]]))
    brands.write_parquet(tmp_path / "items.parquet")
    files = ["--raw", tmp_path / "log.csv", "--items", tmp_path / "items.parquet", "--out", tmp_path / "out"]
    sessions.main(list(map(str, [*files, *OF_EVENTS, "--item-columns", "brand", "tags:multi_valued"])))
    assert pl.read_parquet(tmp_path / "out" / "vocabulary" / "brand.parquet")["value"].to_list() == [2.0, 1.0]
    assert pl.read_parquet(tmp_path / "out" / "vocabulary" / "tags.parquet")["value"].to_list() == [1.0]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("earlier")
    (folder / "log.csv").write_text(CLICKS)
    clicks.main([str(folder / "log.csv"), "--out", str(folder / "made"), "--min-count", "1", "--key", "t", *OF_CLICKS])
    return folder


def values(ids, values):
    def change(folder, schema):
        table = {"id": ids, "value": values}
        pq.write_table(pa.table(table), folder / "vocabulary" / "user.parquet")

    return change


def scaled(**changes):
    def change(folder, schema):
        entry = {"kind": "standardise", "mean": 0.5, "std": 2.0, "seen": [0, 1]}
        schema["features"].append({"name": "price", "kind": "dense", "transform": {**entry, **changes}})

    return change


def entry(name, value):
    return lambda folder, schema: schema.update({name: value})


CHANGED = {
    "version": (entry("format_version", 2), "format_version must be 1, got 2"),
    "recipe": (entry("recipe", 3), "'recipe' is not as a preparation writes it, got 3"),
    "a value twice": (values([1, 2, 3], ["u0", "u0", "u1"]), "two ids of feature 'user' have one value"),
    "ids": (values([1, 7, 9], ["u0", "u1", "u2"]), "user.parquet': ids must be 1, 2 and so on"),
    "values": (values([1, 2], ["u0", "u1"]), "feature 'user' has 2 values, which with id 0 make 3 ids, but counts of"),
    "another file": (
        lambda folder, schema: (folder / "vocabulary" / "user.parquet").write_bytes(b"PAR1"),
        "user.parquet' cannot be read (",
    ),
    "a mean that is a word": (scaled(mean=True), "the transform of feature 'price': its mean must be finite numbers"),
    "a spread of none": (scaled(std=0), "the transform of feature 'price': its std cannot be 0"),
    "an infinite end": (scaled(seen=[0, float("inf")]), "its seen must be finite numbers, got [0, inf]"),
    "ends that fall": (scaled(seen=[3, 1]), "its seen cannot be [3, 1]"),
    "bins without bounds": (scaled(kind="bins"), "the transform of feature 'price': it lacks its bounds"),
    "another kind": (scaled(kind="sqrt"), "its kind must be one of log, standardise, bins, none, got 'sqrt'"),
    "sizes": (lambda folder, schema: schema["features"][0].update(num_embeddings=2), "and num_embeddings 2"),
}


@pytest.mark.parametrize("case", CHANGED)
def test_new_rows_of_a_changed_folder(tmp_path, earlier, capsys, case):
    change, named = CHANGED[case]
    shutil.copytree(earlier / "made", tmp_path / "made")
    schema = json.loads((tmp_path / "made" / "schema.json").read_text())
    change(tmp_path / "made", schema)
    (tmp_path / "made" / "schema.json").write_text(json.dumps(schema))
    assert named in refused(apply, capsys, tmp_path / "made", earlier / "log.csv", "--out", tmp_path / "new")


def test_a_seed_of_rows_that_are_not_drawn(tmp_path, earlier, capsys):
    words = [earlier / "made", earlier / "log.csv", "--grow", "--seed", "3", "--out", tmp_path / "new"]
    assert "--seed 3 has no use with --split rows" in refused(apply, capsys, *words)


def test_a_key_that_is_named_twice_is_kept_once(tmp_path, earlier):
    apply.main([str(earlier / "made"), str(earlier / "log.csv"), "--key", "t", "t", "--out", str(tmp_path / "new")])
    assert json.loads((tmp_path / "new" / "schema.json").read_text())["keys"] == ["t"]
