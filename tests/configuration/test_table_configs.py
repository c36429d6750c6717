"""Every file of configs/tables/ applies to every experiment as it is, at the sizes that the real data have."""

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from jsonargparse import ArgumentParser
from numpy.typing import NDArray

from recsys.data import Column
from recsys.data.schema import Schema
from recsys.data.session_schema import SessionSchema
from recsys.tables.storages import unique_physical_tables
from recsys.tasks import TableTask

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OF_ITEMS = {"semantic_id"}  # need files about items: see test_semantic_configs
TABLES = sorted({path.stem for path in (CONFIGS / "tables").glob("*.yaml")} - OF_ITEMS)
SESSIONS = {
    "beauty": {"item": 12_101},
    "ml-1m_sessions": {"item": 3_416},
    "diginetica": {"item": 43_097},
    "foursquare": {"item": 5_135},
    "rees46": {
        "item": 41_878,
        "category": 540,
        "parent_category": 125,
        "brand": 1_968,
        "price": 11,
        "fine_price": 918,
    },
}
# fmt: off
CRITEO = [213, 456, 4276, 4758, 76, 11, 4882, 123, 4, 4371, 2870, 4282, 2315, 26, 2890, 4485, 10, 1572, 806, 4, 4327,
          11, 15, 3600, 45, 2760]
SAMPLE = [9, 11, 15, 21, 28, 39, 53, 72, 98, 134, 183, 251, 343, 468, 640, 875, 1197, 1636, 2233, 3026, 4036, 5309,
          6746, 8449, 10205, 12030]
AVAZU = [2, 2, 2, 7, 5, 356, 295, 15, 282, 31, 14, 881, 6058, 1067, 5, 5, 260, 5, 6, 108, 5, 31, 105, 30]
# fmt: on
CLICKS = {
    "demo": SAMPLE,
    "criteo": CRITEO,
    "criteo_80k": CRITEO,
    "avazu": AVAZU,
    "movielens": [6041, 3651, 3, 8, 22, 3440],
}


class Shop(SessionSchema):
    """A schema without files behind it."""

    def item_values(self, name: str) -> NDArray[np.int64]:
        return np.zeros(self.num_items + 1, np.int64)

    def item_counts(self) -> NDArray[np.int64]:
        return np.ones(self.num_items + 1, np.int64)


def columns(sizes):
    return tuple(Column(name, "categorical", size) for name, size in sizes.items())


class Data:
    """Stands in for a data module."""

    def __init__(self, experiment: str) -> None:
        if experiment in CLICKS:
            sizes = {f"C{number}": size for number, size in enumerate(CLICKS[experiment], 1)}
            self.schema = Schema(Path(), experiment, "label", columns(sizes), {})
        else:
            sizes = dict(SESSIONS[experiment])
            self.schema = Shop(Path(), experiment, sizes.pop("item"), 1, True, columns(sizes), {}, {}, "")


def build(experiment, tables):
    """The task of an experiment with a tables file on top, its rows allocated."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Data, "data")
    parser.add_subclass_arguments(TableTask, "model")
    parser.link_arguments("data.schema", "model.init_args.schema", apply_on="instantiate")
    files = [CONFIGS / f"{experiment}.yaml", CONFIGS / "tables" / f"{tables}.yaml"]
    models = [yaml.safe_dump(yaml.safe_load(file.read_text())["model"]) for file in files]
    parsed = parser.parse_args([f"--data.experiment={experiment}", *(f"--model={model}" for model in models)])
    task = parser.instantiate(parsed).model
    task.configure_model()
    return task


def test_every_experiment_is_tried():
    parts = {"rees46_sasrec", "rees46_semantic", "beauty_sampled"}  # go on top of rees46 and of beauty
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == {*SESSIONS, *CLICKS, *parts}


@pytest.mark.parametrize("tables", TABLES)
@pytest.mark.parametrize("experiment", [*SESSIONS, *CLICKS])
def test_tables_fit_every_experiment_compress_and_keep_small_features(experiment, tables):
    collection = build(experiment, tables).collection
    found = [collection.table(feature.table) for feature in collection.features]
    as_trained = [table for table in found if table.served_bytes() is None]
    matrices = unique_physical_tables(as_trained).values()
    taken = sum(matrix.num_bytes() for matrix in matrices) + sum(table.own_bytes() for table in as_trained)
    taken += sum(table.served_bytes() for table in found if table not in as_trained)
    full = sum(table.logical_bytes() for table in found)
    if tables in ("autodim", "autosrh", "deeplight", "gradual", "optembed", "pep"):  # full; selected afterwards
        assert full < taken < 1.1 * full
    else:
        assert taken == full if tables in ("full", "mlet") else taken < full
    for table in found:
        if not table.physical_tables():
            continue
        told_apart = math.prod(matrix.num_rows for matrix in table.physical_tables())
        assert told_apart >= min(table.num_embeddings, 10), f"'{table.name}' has too few rows"
