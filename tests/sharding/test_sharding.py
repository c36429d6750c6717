"""Rows sharded over two gloo processes train like one process on the same samples."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial

import pyarrow.parquet as pq
import pytest
import torch
from lightning.pytorch import Trainer

from recsys.data import CTRDataModule
from recsys.models import DeepFM
from recsys.sharding.refusals import refuse_batch_norm
from recsys.sharding.strategy import TorchrecStrategy
from recsys.tables import (
    SGD,
    Feature,
    FullTable,
    PhysicalTable,
    Sharding,
    TableCollection,
    TableSharding,
    TorchrecLookup,
)
from recsys.tables.sharded.plan import place_tables
from recsys.tasks import CTRTask
from tests.sharding.processes import ROOT, torchrun
from tests.sharding.worker import CASES, PIPELINED, RESUMED


@pytest.fixture(scope="module")
def odd(prepared, tmp_path_factory):
    """The small data with one train row less, so that one of two processes ends an epoch with an empty batch."""
    folder = tmp_path_factory.mktemp("odd") / "criteo"
    shutil.copytree(prepared, folder)
    file = folder / "train" / "part-00000.parquet"
    pq.write_table(pq.read_table(file).slice(1), file, row_group_size=256)
    schema = json.loads((folder / "schema.json").read_text())
    schema["splits"]["train"]["num_rows"] -= 1
    (folder / "schema.json").write_text(json.dumps(schema))
    return folder


@pytest.fixture(scope="module")
def runs(odd, tmp_path_factory):
    """What one and two processes reached, by case."""
    folder = tmp_path_factory.mktemp("runs")
    for num_ranks in (2, 1):
        torchrun("worker.py", num_ranks, folder, odd, num_ranks)
    return {num_ranks: torch.load(folder / f"{num_ranks}.pt", weights_only=True) for num_ranks in (1, 2)}, folder


@pytest.mark.parametrize("case", [*CASES, *(f"resumed {case}" for case in RESUMED)])
def test_two_processes_reach_what_one_reaches(runs, case):
    one, two = runs[0][1][case], runs[0][2][case]
    assert one["steps"] == two["steps"] == (10 if case == "accumulated" else 20)
    assert one["state"].keys() == two["state"].keys()
    for name, values in one["state"].items():
        torch.testing.assert_close(two["state"][name], values, rtol=0, atol=1e-5, msg=f"{name} differs")
    assert two["metrics"] == pytest.approx(one["metrics"], abs=1e-6)
    if not case.startswith("resumed"):
        scores = [pq.read_table(runs[1] / f"{num_ranks}-{case}.parquet").to_pydict() for num_ranks in (1, 2)]
        assert scores[0]["label"] == scores[1]["label"]
        assert scores[1]["logit"] == pytest.approx(scores[0]["logit"], abs=1e-5)


@pytest.mark.parametrize("case", RESUMED)
def test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit(runs, case):
    straight, resumed = runs[0][2][case]["state"], runs[0][2][f"resumed {case}"]["state"]
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


@pytest.mark.parametrize("case", PIPELINED)
def test_a_pipelined_run_equals_the_plain_one_to_the_bit(runs, case):
    plain, pipelined = runs[0][2][case], runs[0][2][f"pipelined {case}"]
    assert all(torch.equal(plain["state"][name], pipelined["state"][name]) for name in plain["state"])
    assert pipelined["metrics"] == plain["metrics"]
    assert plain["started"] == 0
    # Dynamic ids are routed in their own step; the first step of each epoch has none before it.
    assert pipelined["started"] == (0 if case == "managed_collision" else plain["steps"] - 2)


def test_rows_have_moved(runs, odd):
    data = CTRDataModule(odd)
    torch.manual_seed(0)
    fresh = CTRTask(DeepFM, data.schema, 6)
    fresh.configure_model()
    before = fresh.collection.lookup.weight("C3")
    after = runs[0][2]["full"]["state"]["C3.weight"]
    assert (before != after).any(1).float().mean() > 0.5


def test_ids_have_lost_their_rows_to_others(runs):
    state = runs[0][2]["managed_collision"]["state"]
    assert int(state["collection.tables.C3.num_intervals"]) == 6
    assert int((state["collection.tables.C3.slot_ids"] < 900).sum()) == 24
    assert len(state["collection.tables.C3._extra_state"]) > 0


def test_ids_were_promoted_in_both_processes_alike(runs):
    state = runs[0][2]["cafe"]["state"]
    assert int((state["collection.tables.C3.cell_rows"] >= 0).sum()) == 42


def test_the_plan_is_kept(runs):
    (line,) = json.loads((runs[1] / "sharding_plan.json").read_text())
    assert line == {
        "table": "unified",
        "num_rows": 200,
        "row_dim": 4,
        "sharding_type": "table_wise",
        "place": "whole on 0",
        "compute_kernel": "fused",
        "rank_bytes": [200 * (4 * 4 + 4)],
        "sent_bytes_per_id": 0.0,
        "sent_bytes_per_sample": 0.0,
        "sent_bytes_per_step": 0.0,
    }


def test_placements_are_balanced_and_cover_every_row():
    sizes = [5, 10, 17, 400, 1_000, 3, 900_000]
    tables = [PhysicalTable(f"t{i}", size, 16, 0.1) for i, size in enumerate(sizes)]
    optimizers = dict.fromkeys([table.name for table in tables], SGD())
    for num_ranks in (1, 2, 3, 8):
        placements = place_tables(tables, optimizers, num_ranks, Sharding(replicate_rows=0))
        assert list(placements) == [table.name for table in tables]
        for table in tables:
            assert sum(placements[table.name].values_on(rank) for rank in range(num_ranks)) == 16 * table.num_rows
        load = [sum(p.values_on(rank) for p in placements.values()) for rank in range(num_ranks)]
        assert max(load) <= 1.01 * sum(load) / num_ranks
    assert all(placement.ranks == (0,) for placement in place_tables(tables, optimizers, 1).values())
    small = [placement.sharding_type for placement in place_tables(tables, optimizers, 2).values()]
    assert small == ["data_parallel"] * 6 + ["row_wise"]


@pytest.mark.parametrize(
    ("sharding", "error"),
    [
        ({"nothing": TableSharding("row_wise")}, r"constraint 'nothing' names no matrix \(known: a\)"),
        ({"a": TableSharding("column_wise")}, r"'a': column_wise would give each piece of a row a state of its own"),
        (
            {"a": TableSharding(compute_kernel="fused_uvm")},
            r"fused_uvm keeps rows in host memory for a GPU; on cpu",
        ),
    ],
)
def test_what_cannot_be_sharded_is_refused(group, sharding, error):
    with pytest.raises(ValueError, match=error):
        TableCollection(*one_table(), lookup=partial(TorchrecLookup, sharding=Sharding(sharding)))


def test_rows_that_do_not_fit_are_refused_before_they_are_made(group):
    sharding = Sharding(memory_bytes=1999)
    with pytest.raises(ValueError, match=r"process 0 would hold 2,000 bytes of rows .* memory_bytes=1,999; use more"):
        TableCollection(*one_table(), lookup=partial(TorchrecLookup, sharding=sharding))


@pytest.mark.parametrize("setting", ["sharding_type", "compute_kernel"])
def test_a_misspelt_word_is_refused(setting):
    with pytest.raises(ValueError, match=rf"{setting} must be one of .*, got 'rowwise'"):
        TableSharding(**{setting: "rowwise"})


def one_table():
    return [Feature("a", "a")], {"a": FullTable("a", 100, 4)}


def test_without_processes_the_lookup_says_what_it_needs():
    with pytest.raises(ValueError, match=r"needs a process group; train with trainer\.strategy: torchrec"):
        TableCollection(*one_table(), lookup=TorchrecLookup)


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ("gradient_clip_algorithm=value", "trainer.gradient_clip_algorithm: value does not reach table rows"),
        ("default_root_dir=memory://bucket", "checkpoint 'memory://bucket' is remote"),
    ],
)
def test_what_cannot_be_is_refused_before_training(prepared, tmp_path, argument, error):
    command = [sys.executable, "-m", "recsys", "fit", "-c", str(ROOT / "configs" / "criteo.yaml")]
    command += [f"--data.init_args.path={prepared}", "--trainer.strategy=torchrec", "--trainer.accelerator=cpu"]
    command += ["--trainer.devices=1", f"--trainer.default_root_dir={tmp_path}", f"--trainer.{argument}"]
    # Trainers of other tests leave behind where their group met.
    alone = {name: value for name, value in os.environ.items() if name not in ("MASTER_ADDR", "MASTER_PORT")}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=alone)
    assert done.returncode == 2
    assert error in done.stderr


def test_other_strategies_of_several_processes_are_refused(prepared):
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_checkpointing=False)
    task = CTRTask(DeepFM, CTRDataModule(prepared).schema)
    task.trainer = trainer
    with pytest.raises(ValueError, match=r"trainer\.strategy: torchrec to shard them"):
        task.setup("fit")


class Normalised(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(4)


def quiet_trainer(folder, **arguments):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "max_steps": 1}
    return Trainer(accelerator="cpu", devices=1, default_root_dir=folder, **quiet, **arguments)


@pytest.mark.parametrize("stage", ["fit", "validate", "predict"])
def test_batch_normalisation_is_refused_only_where_it_trains(monkeypatch, prepared, tmp_path, stage):
    data = CTRDataModule(prepared)
    trainer = quiet_trainer(tmp_path, strategy=TorchrecStrategy())
    monkeypatch.setattr(TorchrecStrategy, "world_size", 2)
    refused = []
    monkeypatch.setattr("recsys.sharding.strategy.refuse_batch_norm", refused.append)
    trainer.strategy.connect(CTRTask(DeepFM, data.schema))
    trainer.state.fn = stage
    monkeypatch.setattr("lightning.pytorch.strategies.DDPStrategy.setup", lambda *_: None)
    trainer.strategy.setup(trainer)
    assert bool(refused) == (stage == "fit")


def test_what_fails_while_a_group_is_formed_is_what_is_said(monkeypatch, prepared, tmp_path):
    def fail(strategy):
        raise RuntimeError("no such backend")

    monkeypatch.setattr("lightning.pytorch.strategies.DDPStrategy.setup_environment", fail)
    data = CTRDataModule(prepared)
    with pytest.raises(RuntimeError, match="no such backend"):
        quiet_trainer(tmp_path, strategy=TorchrecStrategy()).fit(CTRTask(DeepFM, data.schema), datamodule=data)


def test_an_unknown_backend_is_refused():
    with pytest.raises(ValueError, match="process_group_backend must be gloo or nccl, got 'ncll'; leave it out"):
        TorchrecStrategy(process_group_backend="ncll")


def test_a_dict_is_a_constraint():
    asked = TorchrecStrategy(constraints={"C3": {"sharding_type": "row_wise"}})._sharding.constraints
    assert asked == {"C3": TableSharding("row_wise")}
    for wrong in ({"sharding_typ": "row_wise"}, "row_wise"):
        with pytest.raises(ValueError, match=r"constraints\['C3'\] must be a TableSharding, or a dict with the keys"):
            TorchrecStrategy(constraints={"C3": wrong})


def test_batch_normalisation_in_several_processes_is_refused():
    with pytest.raises(ValueError, match=r"does not train batch normalisation \(norm\): .*set batch_norm: false"):
        refuse_batch_norm(Normalised())
