"""A configuration that fits the folder it was written for."""

import re
import shlex

import numpy as np
import pytest
import yaml

from recsys.commands import plan
from recsys.prepare.clicks import config_file
from recsys.prepare.clicks.allocation import Column
from recsys.prepare.clicks.config_file import config_text
from recsys.tables import Feature, FullTable, HeadTailTable, TableCollection
from tests.prepare.clicks.test_clicks import prepare


def test_a_configuration_fits_the_folder(tmp_path):
    rows = [f"{number % 2},u{number % 7},{number}" for number in range(500)]
    (tmp_path / "log.csv").write_text("\n".join(["click,user,price", *rows]))
    config = tmp_path / "mine.yaml"
    command = [tmp_path / "log.csv", "--label", "click", "--categorical", "user", "--dense", "price", "--group", "user"]
    prepare(tmp_path / "out", *command, "--config", config)
    content = yaml.safe_load(config.read_text())
    assert content["data"]["init_args"] == {"path": str(tmp_path / "out"), "batch_size": 64, "eval_batch_size": 4096}
    assert content["trainer"]["callbacks"][0]["init_args"]["monitor"] == "val/gauc"
    assert content["trainer"]["log_every_n_steps"] == 6, "batches of 64 among 400 rows"
    assert content["model"]["init_args"]["tables"] == {"default": "FullTable"}
    assert "assign" not in content["model"]["init_args"]
    with pytest.raises(SystemExit, match="exists and is kept; give another name"):
        prepare(tmp_path / "other", *command, "--config", config)
    assert not (tmp_path / "other").exists()


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """A folder with two features of more than 20 ids, and the configuration that is written with it."""
    monkeypatch.setattr(config_file, "LARGE_IDS", 20)
    monkeypatch.setattr(config_file, "LEAST_PLANNED_ROWS", 4)
    users = [f"u{user}" for user in range(30) for _ in range(3 + user % 10)]
    rows = [f"1,{user},{user[-1]},{number % 25}" for number, user in enumerate(users)]
    (tmp_path / "log.csv").write_text("\n".join(["click,user,exact,tail[1]", *rows]))
    names = ["--categorical", "user", "exact", "tail[[]1]"]
    command = [tmp_path / "log.csv", "--label", "click", *names, "--fractions", 1, 0, 0]
    schema = prepare(tmp_path / "my data", *command, "--config", tmp_path / "mine.yaml")
    return {entry["name"]: entry["num_embeddings"] for entry in schema["features"]}, tmp_path / "mine.yaml"


def test_large_features_get_the_bytes_of_the_ids_that_are_read_often(planned):
    sizes, config = planned
    content = yaml.safe_load(config.read_text())["model"]["init_args"]
    collection = TableCollection([Feature(name, name) for name in sizes], tables_of(content, sizes))
    num_often = sum(3 + user % 10 >= 10 for user in range(30))  # no id of the other is read ten times
    assert isinstance(collection.table("exact"), FullTable)
    assert isinstance(collection.table("user"), HeadTailTable)
    held = sum(matrix.num_bytes() for matrix in collection.lookup.tables.values())
    assert held == 4 * 16 * (sizes["exact"] + num_often)


def tables_of(content, sizes):
    """The tables that a configuration gives to features."""
    found = {}
    for entry, (name,) in content["assign"].items():
        made = content["tables"][entry]
        kind, arguments = (FullTable, {}) if made == "FullTable" else (HeadTailTable, made["init_args"])
        plain = name.replace("[[]", "[")
        found[plain] = kind(plain, sizes[plain], 16, **arguments)
    return found


def test_they_are_those_of_the_command_that_is_named(planned, capsys):
    _, config = planned
    (command,) = re.findall(r"# (recsys plan .*)", config.read_text())
    capsys.readouterr()
    assert plan.main(shlex.split(command)[2:]) == 0
    printed = capsys.readouterr().out
    named = yaml.safe_load(printed[printed.index("# recsys plan") :])["model"]["init_args"]
    written = yaml.safe_load(config.read_text())["model"]["init_args"]
    assert {name: written[name] for name in ("embedding_dim", "tables", "assign")} == {
        name: named[name] for name in ("embedding_dim", "tables", "assign")
    }


def test_of_a_hundred_million_rows():
    counts = np.zeros(1 << 21, np.int64)
    counts[1:500_001] = 20
    schema = {"splits": {"train": {"num_rows": 10**8}}, "features": [{"name": "a: b", "num_embeddings": 1 << 21}]}
    content = yaml.safe_load(config_text(schema, "x", [Column("a: b", counts)]))
    sizes = content["model"]["init_args"]["tables"]["a: b"]["init_args"]
    # Two rows of half the width are one of the whole.
    assert sizes["num_head"] + sizes["num_rows"] // 2 == 500_000
    assert content["data"]["init_args"]["batch_size"] == 4096
    assert content["trainer"]["max_epochs"] == 1
