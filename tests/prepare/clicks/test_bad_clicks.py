"""What cannot be meant in a log of clicks is refused, with its line."""

from __future__ import annotations

import pytest

from recsys.prepare.clicks.click_spec import ColumnRule
from tests.prepare.clicks.test_clicks import prepare

HEAD = "click,user,price\n"
BAD_INPUTS = {
    "a name twice": ("click,user,user\n1,2,3\n", [], "line 1: column 'user' is there twice; rename one"),
    "a name like all": ("click,user,*\n1,2,3\n", [], r"line 1: column '\*' has the form of a pattern"),
    "a name like another": ("click,user,^user$\n1,2,3\n", [], r"line 1: column '\^user\$' has the form of a pattern"),
    "a key of json like all": (
        '{"click": 1, "user": 2, "^.*$": 3}\n',
        [],
        r"column '\^\.\*\$' has the form of a pattern",
    ),
    "lists of texts": (
        HEAD + "1,a|b,1\n",
        ["--lists", "user"],
        "column 'user' holds texts, and nothing says what divides",
    ),
    "unit and format": (
        HEAD + "1,1,1\n",
        ["--time", "price", "--time-unit", "s", "--time-format", "%s"],
        "--time-unit s is of numbers, and --time-format '%s' of texts; give the one",
    ),
    "min-count without ids": (
        HEAD + "1,1,1\n",
        ["--dense", "price", "--min-count", "5"],
        "--min-count 5 says how values",
    ),
    "hashes without ids": (HEAD + "1,1,1\n", ["--dense", "price", "--hash-bits", "8"], "--hash-bits 8 says how values"),
    "no name": ("click,,price\n1,2,3\n", [], "line 1: column 2 has no name"),
    "short": (HEAD + "1,2\n", [], r"line 2: expected 3 columns separated by ',', found 2"),
    "long, beside a short one": (HEAD + "1,2,3,4\n1,2\n", [], "line 2: expected 3 columns separated by ',', found 4"),
    "open quote": (HEAD + '1,"2,3\n1,2,3\n', [], "line 2: a quote that is not closed"),
    "text after a quote": (HEAD + '1,"2"x,3\n', [], "line 2: ',' expected after"),
    "bytes": (HEAD.encode() + b"1,\xff,3\n", [], "line 2: byte 0xff at byte 3 is not valid utf-8"),
    "zero byte": (HEAD + "1,\0,3\n", [], "line 2: byte 0x00"),
    "utf-16": (HEAD.encode("utf-16"), [], "log.csv is UTF-16, not UTF-8"),
    "label 2": (HEAD + "2,1,3\n", [], "line 2: column 'click' holds '2', not 0 or 1"),
    "no label": (HEAD + ",1,3\n", [], "line 2: column 'click' holds '', not 0 or 1"),
    "no number": (HEAD + "1,1,dear\n", [], "line 2: column 'price' holds 'dear', not a finite number"),
    "infinite": (HEAD + "1,1,inf\n", [], "line 2: column 'price' holds 'inf', not a finite number"),
    "too large": (HEAD + "1,1,1e39\n", ["--dense", "price:none"], "holds '1e39', too large to stay a finite float32"),
    "weight": (HEAD + "1,1,-1\n", ["--weight", "price"], "holds '-1', not a finite weight of at least 0"),
    "weights of 0": (HEAD + "1,1,0\n0,2,0\n", ["--weight", "price"], "no train row has a weight above 0"),
    "misspelt": (HEAD, ["--categorical", "usr"], "--categorical: 'log.csv' has no column 'usr'; did you mean 'user'"),
    "pattern of none": (HEAD, ["--categorical", "C*"], r"no column of 'log.csv' is like 'C\*'"),
    "two kinds": (HEAD, ["--categorical", "price", "--dense", "price"], "column 'price' is named twice"),
    "bins": (HEAD, ["--dense", "price:bins:1"], "bins must be a number in"),
    "the label a feature": (HEAD, ["--categorical", "click"], "column 'click' is the label or weight"),
    "the label a weight": (HEAD, ["--weight", "click"], "column 'click' is both label and weight"),
    "key and feature": (HEAD, ["--categorical", "user", "--key", "user"], "--key 'user' is a feature"),
    "several separators": (
        "click;user,price\n1;2,3\n",
        [],
        r"line 1: may be separated by ';' or ','; give --separator",
    ),
    "time without times": (HEAD + "1,1,1\n", ["--split", "time"], "--split time needs times; give --time"),
    "time without use": (HEAD + "1,1,1\n", ["--time", "price", "--split", "rows"], "--time price is what --split time"),
    "min-count and hashes": (HEAD, ["--min-count", "2", "--hash-bits", "9"], "--hash-bits keeps no vocabulary"),
    "fractions": (HEAD + "1,1,1\n", ["--fractions", "nan", "nan", "nan"], "fractions must be three numbers"),
    "fractions of a split that is given": (
        HEAD,
        ["--split", "given:price", "--fractions", ".8", ".1", ".1"],
        "--fractions has no use with --split given",
    ),
    "a seed of no draw": (HEAD, ["--split", "rows", "--seed", "0"], "--seed 0 has no use with --split rows"),
    "pooling of no lists": (HEAD, ["--pooling", "mean"], "--pooling mean is said of --lists, which is missing"),
    "no click among the texts": (
        HEAD + "no,1,1\nyes,2,1\n",
        ["--positive", "Yes"],
        "--positive Yes of column 'click': no row is a click, and nothing can be learned",
    ),
    "all texts are clicks": (
        HEAD + "no,1,1\nyes,2,1\n",
        ["--positive", "yes", "no"],
        "--positive yes no of column 'click': every row is a click",
    ),
    "no number is a click": (
        HEAD + "1,1,1\n3,2,1\n",
        ["--positive-from", "9"],
        "--positive-from 9 of column 'click': no",
    ),
    "all numbers are clicks": (HEAD + "1,1,1\n3,2,1\n", ["--positive-from", "-1"], "every row is a click"),
    "empty": ("", [], "line 1: the file is empty"),
    "header only": (HEAD, [], "has no usable line"),
    "parquet by name": ("PAR", [], "is no parquet file, or a damaged one"),
    "damaged parquet": ("PAR1 and more", [], "is not a readable Parquet file, truncated or damaged"),
    "json": ('{"click": 1, "user": 2, "price": 3}\n[1]\n', [], "line 2: is no JSON object"),
    "json twice": ('{"click": 1, "user": 2, "price": 3}\n{"click": 1, "click": 0}\n', [], "a key is there twice"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_is_named(tmp_path, case):
    content, options, message = BAD_INPUTS[case]
    suffix = ".parquet" if "parquet" in case else ".jsonl" if "json" in case else ".csv"
    path = tmp_path / f"log{suffix}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    features = [] if {"--categorical", "--dense", "--weight", "--lists"} & set(options) else ["--categorical", "user"]
    features += [] if {"--dense", "--weight"} & set(options) or features == [] else ["--dense", "price"]
    features += ["--categorical", "user"] if "--weight" in options else []
    with pytest.raises(SystemExit, match=message):
        prepare(tmp_path / "out", path, "--label", "click", *features, *options)
    assert not (tmp_path / "out").exists()


def test_bad_lines_are_skipped_and_counted(tmp_path, open_prepared):
    lines = ["1,a,2", "1,a", "", "0,b,inf", '0,"b\nc",1', "3,a,1", "1,a,3"]
    (tmp_path / "log.csv").write_text(HEAD + "\n".join(lines) + "\n\n")
    command = [tmp_path / "log.csv", "--label", "click", "--categorical", "user", "--dense", "price:none"]
    schema = prepare(tmp_path / "out", *command, "--on-bad-line", "skip", "--min-count", 1, "--fractions", 1, 0, 0)
    assert schema["source"]["lines"]["log.csv"] == {
        **{"read": 8, "kept": 3, "skipped": 3, "dropped": {"blank line": 2}},
    }
    listed = (tmp_path / "out" / "bad_lines.tsv").read_text().splitlines()
    assert [line.split("\t")[1] for line in listed[1:]] == ["3", "5", "8"]
    assert open_prepared(tmp_path / "out").column("train", "price") == [2, 1, 3]


def test_nested_values_of_json_keep_numbers_and_texts_apart(tmp_path, open_prepared):
    nested = ['{"a": 1}', '{"a": "1"}', '{"a": 1.0}', '[1, ["1", null]]', '{"b": true, "a": "\\u00e9"}']
    lines = [f'{{"click": {k % 2}, "user": {cell}, "key": {cell}}}' for k, cell in enumerate(nested)]
    (tmp_path / "log.jsonl").write_text("\n".join([*lines[:3], *lines[4:]]))
    command = [tmp_path / "log.jsonl", "--label", "click", "--categorical", "user", "--key", "key", "--min-count", 1]
    prepare(tmp_path / "out", *command, "--fractions", 1, 0, 0)
    found = open_prepared(tmp_path / "out")
    assert len({*found.column("train", "user")}) == 4
    assert [*found.column("train", "key")] == [*nested[:3], '{"a": "\\u00e9", "b": true}']


@pytest.mark.parametrize("separator", [True, 1, ["|"], ""])
def test_a_separator_of_lists_is_a_text(separator):
    with pytest.raises(ValueError, match="column 'tags': separator must be a text, got "):
        ColumnRule("tags", "lists", separator=separator)
