"""The summary of tables before training."""

import io

import pytest
import torch

from recsys.data import CTRDataModule
from recsys.tables import (
    ALPTTable,
    DenseGradient,
    DPQTable,
    Feature,
    FullTable,
    MixedDimTable,
    MLETTable,
    TableCollection,
    served,
)
from recsys.tasks.summary import Totals, dense_state_bytes, render, table_rows, totals
from tests.tasks.test_ctr import make_task, make_trainer, momentum, unified


def test_the_summary_counts_every_byte_once(prepared):
    data = CTRDataModule(prepared)
    task = make_task(data, tables={"default": unified}, exact_up_to=10)
    task.configure_model()
    rows = {row.features: row for row in table_rows(task.collection)}
    assert rows["C1",].method == "FullTable"
    assert rows["C3",].physical == "64 x 4"
    assert (rows["C3",].logical_bytes, rows["C3",].stored_bytes) == (4 * 900 * 8, 4 * 64 * 4)
    stored = 4 * (8 * 8 + 64 * 4)
    assert totals(task.collection) == Totals(4 * 8 * (8 + 300 + 900 + 20), stored, stored, 4 * (8 + 64))


@pytest.mark.parametrize("narrow", [DPQTable, ALPTTable, MLETTable])
def test_bytes_when_served_are_those_of_the_tables_that_are_served(prepared, narrow):
    tables = {"default": unified, "narrow": narrow}
    task = make_task(CTRDataModule(prepared), tables=tables, assign={"narrow": ["C2", "C3"]})
    task.configure_model()
    before, after = totals(task.collection), totals(served(task.collection))
    assert before.served_bytes == after.served_bytes == after.stored_bytes != before.stored_bytes


@pytest.mark.parametrize(("optimizer", "moments"), [(torch.optim.Adam, 2), (torch.optim.SGD, 0), (momentum, 1)])
def test_the_state_of_dense_gradients_is_counted_before_there_is_any(prepared, tmp_path, optimizer, moments):
    data = CTRDataModule(prepared, batch_size=100)
    tables = {"default": lambda name, v, d: MixedDimTable(name, v, d, row_dim=4)}
    task = make_task(data, table_optimizer=DenseGradient(), optimizer=optimizer, tables=tables)
    make_trainer(tmp_path, max_steps=1).fit(task, datamodule=data)
    (stepped,) = task.trainer.optimizers
    counted = totals(task.collection, dense_state_bytes([stepped])).state_bytes
    rows, projections = 4 * (8 + 300 + 900 + 20), 4 * 4 * 8
    assert counted == moments * 4 * (rows + projections)
    inside = set(task.collection.parameters())
    kept = [v for p, state in stepped.state.items() if p in inside for v in state.values() if v is not None and v.ndim]
    assert counted == sum(values.numel() * 4 for values in kept)


@pytest.mark.parametrize("full", [False, True])
def test_the_summary_fits_a_screen_and_ends_in_totals(prepared, full, monkeypatch):
    from rich.console import Console

    task = make_task(CTRDataModule(prepared), tables={"default": unified}, exact_up_to=10)
    task.configure_model()
    console = Console(width=120 if full else 80, record=True, file=io.StringIO())
    console.print(render(task.collection, full))
    lines = console.export_text().splitlines()
    assert "…" not in "".join(lines)
    assert "stored (ratio" in " ".join(lines[-2:])
    assert sum("UnifiedTable" in line for line in lines) == (3 if full else 1)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([f"C{number}" for number in range(1, 25)], "C1, C2, C3, ... (24)"),
        (["user_identifier_hashed", "item"], "user_identifi... (2)"),
        (["abcdefghijkl", "bcdefghijk"], "abcdefghijkl, ... (2)"),
        (["a_name_that_is_longer_than_its_column"], "a_name_that_is_longer_than_its_column"),
    ],
)
def test_names_are_left_out_whole(names, shown):
    collection = TableCollection(
        [Feature(name, name) for name in names], {name: FullTable(name, 4, 2) for name in names}
    )
    (cell,) = render(collection).columns[1].cells
    assert cell == shown
