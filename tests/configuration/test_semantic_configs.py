"""Items by id, content and semantic id: every contender of the comparison, and the tables file, build from YAML."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from jsonargparse import ArgumentParser

from recsys.comparison.reading import read_comparison
from recsys.data import Column
from recsys.data.schema import Schema
from recsys.prepare.semantic.codes import Codes
from recsys.tables import ConcatTable, ContentTable, FullTable, GateTable, HashTable, SemanticIdTable, SumTable
from recsys.tables.storages import unique_physical_tables
from recsys.tasks import TableTask

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NUM_ITEMS = 3_669
KINDS = {
    "id": FullTable,
    "id, hashed": HashTable,
    "content": ContentTable,
    "semantic id": SemanticIdTable,
    "categories": SemanticIdTable,
    "shuffled codes": SemanticIdTable,
    "random codes": SemanticIdTable,
    "id + content": SumTable,
    "id + semantic id, sum": SumTable,
    "id + semantic id, gate": GateTable,
    "id + semantic id, concat": ConcatTable,
}


class Data:
    """Stands in for a data module."""

    def __init__(self) -> None:
        sizes = {"user": 6_041, "item": NUM_ITEMS, "gender": 3}
        columns = tuple(Column(name, "categorical", size) for name, size in sizes.items())
        self.schema = Schema(Path(), "movielens", "label", columns, {})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the commands of docs/semantic_ids.md leave behind."""
    folder = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    names = pl.Series([str(n) for n in range(1, NUM_ITEMS)])
    for name, num_codes in (("", 64), ("-categories", 4096), ("-shuffled", 64), ("-pieces", 900)):
        (folder / f"codes/ml-1m{name}").mkdir(parents=True)
        values = rng.integers(0, num_codes, (NUM_ITEMS - 1, 3))
        Codes(names, values, num_codes).write(folder / f"codes/ml-1m{name}/codes.parquet")
    vectors = rng.standard_normal((NUM_ITEMS - 1, 64)).tolist()
    pl.DataFrame({"item": names, "vector": vectors}).write_parquet(folder / "codes/ml-1m/vectors.parquet")
    data = folder / "data/ml-1m-time"
    for name in ("vocabulary", "counts"):
        (data / name).mkdir(parents=True)
    pl.DataFrame({"id": range(1, NUM_ITEMS), "value": names}).write_parquet(data / "vocabulary/item.parquet")
    counts = [0, *range(NUM_ITEMS - 2, -1, -1)]
    pl.DataFrame({"id": range(NUM_ITEMS), "count": counts}).write_parquet(data / "counts/item.parquet")
    return folder


def build(*overrides):
    """The task of configs/movielens.yaml with other models on top, its rows allocated."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Data, "data")
    parser.add_subclass_arguments(TableTask, "model")
    parser.link_arguments("data.schema", "model.init_args.schema", apply_on="instantiate")
    first = yaml.safe_load((CONFIGS / "movielens.yaml").read_text())
    models = [yaml.safe_dump(content["model"]) for content in (first, *overrides)]
    task = parser.instantiate(parser.parse_args([f"--model={model}" for model in models])).model
    task.configure_model()
    return task


COMPARISON = CONFIGS / "compare" / "semantic_ids.yaml"
CONTENDERS = yaml.safe_load(COMPARISON.read_text())["axes"]["item"]


@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_builds_within_its_bytes(name, files, monkeypatch):
    monkeypatch.chdir(files)
    table = build(CONTENDERS[name]).collection.table("item")
    longest = max((start for start in KINDS if name.startswith(start)), key=len)
    assert type(table) is KINDS[longest]
    taken = sum(matrix.num_bytes() for matrix in unique_physical_tables([table]).values()) + table.own_bytes()
    if "1/4" in name:
        assert taken <= table.logical_bytes() / 4


def test_the_comparison_is_one():
    comparison = read_comparison(COMPARISON)
    assert [contender.name for contender in comparison.contenders] == list(CONTENDERS)


def test_the_tables_file_builds(files, monkeypatch):
    monkeypatch.chdir(files)
    collection = build(yaml.safe_load((CONFIGS / "tables" / "semantic_id.yaml").read_text())).collection
    assert isinstance(collection.table("item"), SemanticIdTable)
    assert isinstance(collection.table("user"), FullTable)
    assert collection.table("item").num_without_codes() == 1
