"""Comparison files: what they mean, and what is said of mistakes in them."""

from dataclasses import replace

import pytest
import yaml

import recsys
from recsys.comparison import read_comparison
from recsys.comparison.found import nested

GOOD = {
    "configs": ["base.yaml"],
    "axes": {"table": {"full": {"a": 1}, "hash": {"a": 2}}, "model": {"x": None, "y": {"b": 3}}},
    "seeds": [0, 1],
}


@pytest.fixture
def write(tmp_path):
    (tmp_path / "base.yaml").write_text("trainer: {max_epochs: 1}\n")
    data = tmp_path / "data"
    data.mkdir()
    (data / "schema.json").write_text("{}")

    def write(**changes):
        path = tmp_path / "comparison.yaml"
        content = {**GOOD, "data": str(data), **changes}
        path.write_text(
            yaml.safe_dump({key: value for key, value in content.items() if value is not None}, sort_keys=False)
        )
        return path

    return write


def test_contenders_are_one_label_of_every_axis(write):
    comparison = read_comparison(write())
    assert [contender.name for contender in comparison.contenders] == ["full, x", "full, y", "hash, x", "hash, y"]
    assert comparison.contenders[3].overrides == ({"a": 2}, {"b": 3})
    runs = comparison.runs()
    assert [(run.contender, run.seed) for run in runs[:5]] == [
        ("full, x", 0), ("full, y", 0), ("hash, x", 0), ("hash, y", 0), ("full, x", 1)
    ]  # fmt: skip
    assert len({run.key for run in runs}) == 8


def test_what_is_left_out_does_not_run(write):
    comparison = read_comparison(write(left_out={"full, y": "too big"}))
    assert [run.contender for run in comparison.runs()] == ["full, x", "hash, x", "hash, y"] * 2
    assert comparison.left_out == {"full, y": "too big"}


def test_which_way_a_metric_is_better_is_known(write):
    modes = {metric: read_comparison(write(metric=metric)).mode for metric in ("gauc", "ndcg@10_cold", "log_loss")}
    assert modes == {"gauc": "max", "ndcg@10_cold": "max", "log_loss": "min"}
    assert read_comparison(write(metric="mine", mode="min")).mode == "min"


def test_the_key_follows_what_decides_the_result_and_not_the_name(write, tmp_path):
    first = read_comparison(write()).runs()[0]
    renamed = read_comparison(write(axes={"t": {"FULL": {"a": 1}}, "m": {"X": None}})).runs()[0]
    assert renamed.contender != first.contender
    assert renamed.key == first.key
    assert read_comparison(write(seeds=[5])).runs()[0].key != first.key
    (tmp_path / "base.yaml").write_text("trainer: {max_epochs: 2}\n")
    assert read_comparison(write()).runs()[0].key != first.key
    (tmp_path / "base.yaml").write_text("trainer: {max_epochs: 1}\n")
    (tmp_path / "data" / "schema.json").write_text("{'other': 1}")
    assert read_comparison(write()).runs()[0].key != first.key


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axis": {}}, "'axis' is not a key here; did you mean 'axes'?"),
        ({"axes": None}, "'axes' is missing"),
        ({"axes": {"table": ["full"]}}, "axes must map axes to labels to overrides"),
        ({"axes": {"table": {1: {}, "1": {}}}}, "two contenders are called '1'; rename a label of one"),
        (
            {"axes": {"table": {"a": {}, "a, b": {}}, "size": {"c": {}, "b, c": {}}}},
            "two contenders are called 'a, b, c'; rename a label of one",
        ),
        ({"axes": {"table": {"full": 3}}}, "axes.table.full must be an override like one more -c, got 3"),
        ({"axes": {"table": {"full": []}}}, "axes.table.full must be an override like one more -c, got []"),
        ({"axes": {"table": {"full": 0}}}, "axes.table.full must be an override like one more -c, got 0"),
        ({"configs": ["bas.yaml"]}, "bas.yaml' does not exist"),
        ({"data": None}, "'data' is missing"),
        ({"mode": "best"}, "mode must be max or min, got 'best'"),
        (
            {"axes": {"data": {"may": {"data": {"init_args": {"path": "may"}}}}}},
            "axes.data.may gives data.init_args.path, which all runs have from data, the prepared folder; leave it out",
        ),
        (
            {"axes": {"a": {"b": {"seed_everything": 7}}}},
            "axes.a.b gives seed_everything, which all runs have from see",
        ),
        ({"mode": "min"}, "mode: min takes the worst auc for the best; write mode: max, or leave it out"),
        ({"metric": "log_loss", "mode": "max"}, "mode: max takes the worst log_loss for the best; write mode: min"),
        ({"seeds": []}, "seeds must be whole numbers in [0, 2**32)"),
        ({"seeds": [-1]}, "seeds must be whole numbers in [0, 2**32)"),
        ({"seeds": [0, True]}, "seeds must be whole numbers in [0, 2**32), as in [0, 1, 2], got [0, True]"),
        ({"seeds": [2**32]}, "got [4294967296]"),
        ({"name": ["x"]}, "name must be text, got ['x']"),
        ({"data": 3}, "data must be text, got 3; quote a number"),
        ({"metric": ["auc"]}, "metric must be text, got ['auc']"),
        ({"search": {3: {"low": 1, "high": 2}}}, "search: a setting must be text, got 3"),
        ({"published": {"full, x": {"value": 1, "source": None}}}, "published.full, x.source must be text, got None"),
        (
            {"axes": {"a": {"x, y": None, "x": None}, "b": {"y, z": None, "z": None}}},
            "two contenders are called 'x, y, z'",
        ),
        ({"seeds": [0, 1, 0]}, "seeds must differ, got 0 twice"),
        ({"configs": "base.yaml"}, "configs must be a list of files, as in [base.yaml], got 'base.yaml'"),
        ({"published": ["full, x"]}, "published must map names to entries"),
        ({"search": "lr"}, "search must map names to entries, got 'lr'"),
        ({"published": {"full, x": {"value": "high", "source": "s"}}}, "published.full, x.value must be a number, got"),
        ({"published": {"full, x": {"value": None, "source": "s"}}}, "value must be a number, got None"),
        ({"search": {"lr": {"low": "small", "high": 1}}}, "search.lr.low must be a number, got 'small'"),
        ({"search": {"lr": {"low": 1, "high": 2, "log": "no"}}}, "search.lr.log must be true or false, got 'no'"),
        ({"published": {"ful, x": {"value": 1, "source": "s"}}}, "no contender; did you mean 'full, x'?"),
        ({"published": {"full, x": 0.8}}, "published.full, x must have value and source"),
        ({"search": {"lr": {"low": 1, "high": 0.1}}}, "search.lr must have low < high"),
        ({"search": {"lr": {"low": 0, "high": 1, "log": True}}}, "low > 0 with log"),
        ({"search": {"lr": 3}}, "search.lr must have low, high"),
        (
            {"left_out": {"ful, x": "too big"}},
            "left_out names 'ful, x', which is no contender; did you mean 'full, x'?",
        ),
        ({"left_out": {"full, x": None}}, "left_out.full, x must be the reason, in words, got None"),
        ({"near_best": {"seeds": [2]}}, "near_best must have within and seeds"),
        ({"near_best": {"seeds": [1, 2], "within": 0.1}}, "but seed 1 is among seeds"),
        ({"near_best": {"seeds": [2], "within": -1}}, "near_best.within must be at least 0, got -1"),
        ({"near_best": {"seeds": [2], "within": "near"}}, "near_best.within must be a number, got 'near'"),
        ({"near_best": {"seeds": [], "within": 1}}, "near_best.seeds must be whole numbers"),
        (
            {"near_best": {"seeds": [2], "within": 1, "axis": "tabel"}},
            "must be an axis, got 'tabel'; did you mean 'table'?",
        ),
        ({"left_out": dict.fromkeys(("full, x", "full, y", "hash, x", "hash, y"), "w")}, "leaves no contender"),
    ],
)
def test_mistakes_are_named(write, changes, message):
    with pytest.raises(ValueError, match=r"comparison|does not exist") as error:
        read_comparison(write(**changes))
    assert message in str(error.value)


def test_other_files_and_folders_are_named(write, tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_comparison(tmp_path / "no.yaml")
    (tmp_path / "torn.yaml").write_text("a: [1")
    with pytest.raises(ValueError, match="is not valid YAML"):
        read_comparison(tmp_path / "torn.yaml")
    with pytest.raises(ValueError, match=r"has no schema\.json"):
        read_comparison(write(data=str(tmp_path))).runs()


def test_empty_sections_are_none(tmp_path, write):
    path = write()
    path.write_text(path.read_text() + "published:\nsearch:\n")
    comparison = read_comparison(path)
    assert not comparison.published
    assert not comparison.search


def test_a_key_given_twice_is_named_with_its_lines(tmp_path, write):
    path = write(axes=None)
    path.write_text(path.read_text() + "axes:\n  table:\n    full: {a: 1}\n    hash: {a: 2}\n    full: {a: 3}\n")
    line = path.read_text().splitlines().index("    full: {a: 3}") + 1
    with pytest.raises(ValueError, match=rf"key 'full' in line {line} is already in line {line - 2}"):
        read_comparison(path)
    (tmp_path / "base.yaml").write_text("base: &base {a: 1}\nown: {<<: *base, a: 2}\n")
    assert read_comparison(write()).configs[0]["own"] == {"a": 2}


def test_the_key_follows_the_version_of_the_package(write):
    run = read_comparison(write()).runs()[0]
    assert run.version == recsys.__version__
    assert replace(run, version="0.0.0").key != run.key


def test_nested_keys():
    assert nested({"a.b.c": 1.0, "a.d": 2.0, "e": 3.0}) == {"a": {"b": {"c": 1.0}, "d": 2.0}, "e": 3.0}
