"""Comparisons of next-item models by id, content and semantic id: every contender builds from what the docs make."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from jsonargparse import ArgumentParser
from numpy.typing import NDArray

from recsys.comparison.reading import read_comparison
from recsys.data.session_schema import SessionSchema
from recsys.prepare.semantic.codes import Codes
from recsys.tables import SemanticIdTable
from recsys.tables.storages import unique_physical_tables
from recsys.tasks import TableTask

COMPARE = Path(__file__).resolve().parents[2] / "configs" / "compare"
NUM_ITEMS = {"rees46": 41_878, "scientific": 4_385, "beauty_semantic": 12_101}
FRACTIONS = {"1/4": 1 / 4, "1/10": 1 / 10, "1/50": 1 / 50}


class Catalogue(SessionSchema):
    """Stands in for the schema of prepared sessions without columns of items."""

    def item_counts(self) -> NDArray[np.int64]:
        return np.ones(self.num_items + 1, np.int64)


class Data:
    """Stands in for a data module."""

    def __init__(self, num_items: int) -> None:
        self.schema = Catalogue(Path(), "shop", num_items, 1, True, (), {}, {}, "")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What the commands of docs/semantic_ids.md leave behind."""
    folder, rng = tmp_path_factory.mktemp("work"), np.random.default_rng(0)
    codes = {
        "codes/rees46/codes.parquet": ("rees46", 5, 4096),
        "codes/scientific/codes.parquet": ("scientific", 4, 64),
        "codes/beauty/codes.parquet": ("beauty_semantic", 4, 256),
        "codes/beauty-2x64/codes.parquet": ("beauty_semantic", 2, 64),
        "s3rec-beauty/semantic_ids_letter.parquet": ("beauty_semantic", 4, 256),
    }
    for name, (experiment, num_levels, num_codes) in codes.items():
        items = pl.Series(range(1, NUM_ITEMS[experiment] + 1))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Codes(items, rng.integers(0, num_codes, (len(items), num_levels)), num_codes).write(folder / name)
    for experiment, num_items in NUM_ITEMS.items():
        data = folder / "data" / experiment.removesuffix("_semantic")
        for name in ("vocabulary", "counts", "vectors"):
            (data / name).mkdir(parents=True)
        ids = range(1, num_items + 1)
        pl.DataFrame({"id": ids, "value": ids}).write_parquet(data / "vocabulary/item.parquet")
        pl.DataFrame({"id": range(num_items + 1), "count": [0, *ids]}).write_parquet(data / "counts/item.parquet")
        np.save(data / "vectors/text.npy", rng.standard_normal((num_items + 1, 12)))
    return folder


def build(experiment, overrides):
    """The task of a comparison's configs with a contender on top, its rows allocated."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Data, "data")
    parser.add_subclass_arguments(TableTask, "model")
    parser.link_arguments("data.schema", "model.init_args.schema", apply_on="instantiate")
    contents = [*read_comparison(COMPARE / f"{experiment}.yaml").configs, *overrides]
    models = [f"--model={yaml.safe_dump(content['model'])}" for content in contents if "model" in content]
    parsed = parser.parse_args([f"--data.num_items={NUM_ITEMS[experiment]}", *models])
    task = parser.instantiate(parsed).model
    task.configure_model()
    return task


CONTENDERS = [
    pytest.param(experiment, contender, id=f"{experiment}: {contender.name}")
    for experiment in NUM_ITEMS
    for contender in read_comparison(COMPARE / f"{experiment}.yaml").contenders
]


@pytest.mark.parametrize(("experiment", "contender"), CONTENDERS)
def test_every_contender_builds_within_its_bytes(experiment, contender, files, monkeypatch):
    monkeypatch.chdir(files)
    table = build(experiment, contender.overrides).collection.table("item")
    taken = sum(matrix.num_bytes() for matrix in unique_physical_tables([table]).values()) + table.own_bytes()
    fraction = FRACTIONS.get(contender.name.split()[-1])
    if fraction is not None:
        assert 0.9 * fraction * table.logical_bytes() <= taken <= fraction * table.logical_bytes()
    assert isinstance(table, SemanticIdTable) == contender.name.startswith(
        ("own codes", "published codes", "categories", "semantic id")
    )


def test_the_config_of_rees46_is_a_contender_of_the_comparison(files, monkeypatch):
    monkeypatch.chdir(files)
    config = yaml.safe_load((COMPARE.parent / "rees46_semantic.yaml").read_text())
    gate = read_comparison(COMPARE / "rees46.yaml").contenders[-1]
    mine, theirs = (build("rees46", each).collection.table("item") for each in ([config], gate.overrides))
    assert repr(mine) == repr(theirs)
