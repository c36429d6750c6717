"""A store that hands have been in: what is no result of its run is said, and never shown as one."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from recsys.comparison.found import SearchFile
from recsys.comparison.spec import Comparison, Contender, Found, SearchRange
from recsys.comparison.store import Result, RunStore, write_whole

NUMBERS = {"val": 0.75, "test": {"auc": 0.5}, "table_bytes": 8, "training_bytes": 24, "samples_per_second": 2.0}
NUMBERS |= {"peak_memory_bytes": 1, "seconds": 1.5}


@pytest.fixture
def runs(tmp_path):
    """Two finished runs, and their store."""
    contenders = [Contender(name, ({"of": name},), labels={"table": name}) for name in ("a", "b")]
    (tmp_path / "schema.json").write_text("{}")
    ranges = {"model.lr": SearchRange(0.1, 1.0)}
    compared = Comparison("two", (), tmp_path, "auc", "max", (0,), tuple(contenders), search=ranges)
    store = RunStore(tmp_path / "store")
    for run in compared.runs():
        write_whole(store.begin(run) / "result.json", asdict(Result(run.contender, run.seed, **NUMBERS)))
    return compared, store


def refusal(store, run):
    with pytest.raises(ValueError, match="the run is done again") as refused:
        store.result(run)
    assert str(store.path(run) / "result.json") in str(refused.value)
    return str(refused.value)


def test_what_a_run_wrote_is_read_under_the_name_that_it_has_now(runs):
    compared, store = runs
    (first, _) = compared.runs()
    assert store.result(first) == Result("a", 0, **NUMBERS)
    for file, name in (("result.json", "earlier"), ("run.json", "earlier")):
        content = json.loads((store.path(first) / file).read_text())
        write_whole(store.path(first) / file, content | {"contender": name})
    assert store.result(first) == Result("a", 0, **NUMBERS)


def test_whole_numbers_of_json_are_read_as_floats(runs):
    compared, store = runs
    path = store.path(compared.runs()[0]) / "result.json"
    write_whole(path, json.loads(path.read_text()) | {"val": 10**40, "test": {"auc": 1}})
    found = store.result(compared.runs()[0])
    assert isinstance(found.val, float)
    assert isinstance(found.test["auc"], float)


FILES = [
    ("", "result.json is not valid JSON"),
    ("\0", "result.json is not valid JSON"),
    ("[" * 100_000, "result.json is not valid JSON"),
    ("null", "result.json must have contender, seed, val, test, "),
    ("[]", "result.json must have contender, seed, val, test, "),
    ("{}", "result.json must have contender, seed, val, test, "),
]


@pytest.mark.parametrize(("text", "named"), FILES)
def test_a_result_that_is_no_object(runs, text, named):
    compared, store = runs
    (store.path(compared.runs()[0]) / "result.json").write_text(text)
    assert named in refusal(store, compared.runs()[0])


ENTRIES = [
    ("val", [], "val must be float"),
    ("val", "x", "val must be float"),
    ("val", None, "val must be float"),
    ("val", True, "val must be float"),
    ("test", None, "test must be "),
    ("test", {"auc": []}, "test must be "),
    ("test", {}, "test has no 'auc'"),
    ("table_bytes", -1, r"table_bytes must be in [0, 2**63), got -1"),
    ("table_bytes", 10**40, r"table_bytes must be in [0, 2**63)"),
    ("table_bytes", 1.5, "table_bytes must be int"),
    ("training_bytes", True, "training_bytes must be int"),
    ("peak_memory_bytes", float("nan"), "peak_memory_bytes must be int"),
    ("samples_per_second", "", "samples_per_second must be float"),
    ("seconds", [], "seconds must be float"),
    ("val", 1e400, "val must be finite, or nan"),
    ("test", {"auc": 0.5, "log_loss": -1e400}, "log_loss must be finite, or nan"),
    ("val", 10**400, "too large to convert to float"),
    ("seed", 1, "lies in the folder of another run"),
    ("seed", None, "seed must be int"),
    ("contender", "b", "lies in the folder of another run"),
    ("more", 1, "must have contender, seed"),
]


@pytest.mark.parametrize(("entry", "value", "named"), ENTRIES)
def test_an_entry_that_no_run_writes(runs, entry, value, named):
    compared, store = runs
    path = store.path(compared.runs()[0]) / "result.json"
    write_whole(path, json.loads(path.read_text()) | {entry: value})
    assert named in refusal(store, compared.runs()[0])


def test_results_and_folders_that_have_changed_places(runs):
    compared, store = runs
    one, other = map(store.path, compared.runs())
    first, second = ((folder / "result.json").read_text() for folder in (one, other))
    (one / "result.json").write_text(second)
    assert "is the result of 'b', seed 0, and lies in the folder of another run" in refusal(store, compared.runs()[0])
    (one / "result.json").write_text(first)
    one.rename(one.with_name("x"))
    other.rename(one)
    assert "is the result of 'b', seed 0, and lies in the folder of another run" in refusal(store, compared.runs()[0])


@pytest.mark.parametrize(
    ("text", "named"), [("{", "not valid JSON"), ("[]", "run.json must have"), (None, "run.json is missing")]
)
def test_a_run_that_is_not_said_whole(runs, text, named):
    compared, store = runs
    path = store.path(compared.runs()[1]) / "run.json"
    path.unlink() if text is None else path.write_text(text)
    assert named in refusal(store, compared.runs()[1])


@pytest.mark.parametrize("words", [b"", b"\xff\xfe\0"])
def test_an_error_of_any_bytes_is_one(runs, words):
    compared, store = runs
    (store.path(compared.runs()[0]) / "error.txt").write_bytes(words)
    assert store.error(compared.runs()[0]).strip()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"trials": []}', '{"contender": "a", "trials": 3, "found": null}', "FOUND"],
)
def test_a_search_that_is_not_said_whole(runs, text):
    compared, store = runs
    file = SearchFile(compared, compared.contenders[0], store)
    file.write([{"model.lr": 0.5}], Found({"model.lr": 0.5}, 0.7, 1, 0))
    assert file.found() == Found({"model.lr": 0.5}, 0.7, 1, 0)
    odd = file.path.read_text().replace('"val": 0.7', '"val": "x"')
    file.path.write_text(odd if text == "FOUND" else text)
    with pytest.raises(ValueError, match=r"searches/\w+\.json': .* Remove it, and the search is done again"):
        file.found()
