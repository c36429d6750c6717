"""AutoDim through all stages: the widths that are probable and fit, begun again from the values of the search."""

import json

import pytest
import torch
from torch.testing import assert_close

from recsys.checkpoints import load
from recsys.compression.selection import Searched, require_possible
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.description.vectors import vectors_of
from recsys.tables import AutoDimTable, Feature, FullTable, MixedDimTable, OptEmbedTable, TableCollection
from recsys.tables.budget import BudgetError
from recsys.tables.sizing import stored_bytes
from tests.compression.stage_runs import compress, words_of


def test_autodim_gives_a_compact_model_that_begins_with_the_values_of_the_search(prepared, tmp_path):
    words, out = words_of(prepared, "autodim"), tmp_path / "out"
    assert compress(out, *words, "--budget_fraction", "45%") == 0
    collection = load(out / "model.ckpt")
    tables = {feature.table: collection.table(feature.table) for feature in collection.features}
    full = sum(table.logical_bytes() for table in tables.values())
    assert stored_bytes(tables) <= int(0.45 * full)
    assert {name: type(table) for name, table in tables.items() if name != "tags"} == {
        "C1": FullTable, "C2": MixedDimTable, "C3": MixedDimTable
    }  # fmt: skip
    assert json.loads((out / "stages.json").read_text())["num_bytes"] == stored_bytes(tables)
    widths = json.loads((out / "selection" / "selected.json").read_text())["widths"]
    assert widths == {name: tables[name].row_dim for name in ("C2", "C3", "tags")}
    cli = RecsysCLI.launch(words, run=False)
    cli.model.configure_model()
    selected = load(out / "selection" / "model.ckpt")
    for name in ("C2", "C3"):
        width, begun = widths[name], cli.model.collection
        rows = begun.lookup.weight(name).detach()[:, :width]
        found = vectors_of(selected, name, torch.arange(len(rows))).detach()
        scale = found.double().norm() / rows.double().norm()
        table = selected.table(name)
        expected = rows if width == 16 else rows @ table.projection.detach()
        assert_close(found / found.norm(), expected / expected.norm(), rtol=1e-4, atol=1e-6)
        assert 0.5 < float(scale) < 4


def searching(**logits):
    tables = {name: AutoDimTable(name, 1_000, 16) for name in logits}
    for name, values in logits.items():
        tables[name].width_logits.data.copy_(torch.tensor(values))
    return TableCollection([Feature(name, name) for name in logits], tables)


def test_with_bytes_for_all_the_most_probable_widths_are_chosen():
    searched = Searched.of(searching(a=[0.0, 2.0, 1.0], b=[3.0, 0.0, 0.0]))
    assert searched.most_probable_widths(1 << 20) == {"a": 8, "b": 4}


def test_with_fewer_bytes_the_most_probable_ones_that_fit_together():
    """Both want 16, 128,000 bytes; a wants it more, and one of them must be 4."""
    searched = Searched.of(searching(a=[0.0, 0.0, 5.0], b=[0.0, -4.0, 2.0]))
    assert searched.most_probable_widths(128_000) == {"a": 16, "b": 16}
    assert searched.most_probable_widths(100_000) == {"a": 16, "b": 4}
    assert searched.most_probable_widths(30_000) is None
    with pytest.raises(BudgetError, match=f"the smallest budget that can is {2 * (16_000 + 256)} bytes"):
        require_possible(searched.narrow.values(), 16, 30_000)


def test_widths_and_rows_do_not_share_a_budget():
    tables = {"a": AutoDimTable("a", 10, 8), "b": OptEmbedTable("b", 10, 8)}
    with pytest.raises(ValueError, match="AutoDimTable 'a' selects widths and OptEmbedTable 'b' rows"):
        Searched.of(TableCollection([Feature("a", "a"), Feature("b", "b")], tables))
