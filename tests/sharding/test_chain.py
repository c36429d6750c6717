"""A run that is stopped in mid-epoch goes on with another number of processes: 1, 2, 4, 1."""

from itertools import pairwise

import pytest
import torch

from recsys.checkpoints.consolidated import consolidate, load
from recsys.data import CTRDataModule
from tests.sharding.chain_worker import GLOBAL_BATCH, STEPS_PER_STAGE
from tests.sharding.processes import torchrun

STAGES = (1, 2, 4, 1)


@pytest.fixture(scope="module")
def folder(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain")
    for stage, num_ranks in enumerate(STAGES):
        torchrun("chain_worker.py", num_ranks, folder, prepared, stage)
    return folder


@pytest.fixture(scope="module")
def stages(folder):
    return [torch.load(folder / f"{stage}.pt", weights_only=True) for stage in range(len(STAGES))]


def test_every_stage_begins_with_what_the_one_before_ended_with(stages):
    for one, other in pairwise(stages):
        assert one["after"].keys() == other["before"].keys()
        assert any(name.endswith("exp_avg") for name in one["after"])
        assert any(name.endswith("momentum") for name in one["after"])
        assert all(torch.equal(other["before"][name], values) for name, values in one["after"].items())
        assert not torch.equal(one["after"]["unified.weight"], other["after"]["unified.weight"])


def test_no_sample_is_seen_twice_and_none_is_left_out(stages, prepared):
    """All stages are of one epoch: what they saw is as many different samples as they trained on."""
    seen = torch.cat([stage["seen"] for stage in stages])
    assert len(seen) == GLOBAL_BATCH * STEPS_PER_STAGE * len(STAGES)
    data = CTRDataModule(prepared, batch_size=100_000, shuffle=False)
    data.setup("fit")
    (batch,) = data.train_dataloader()
    samples = torch.cat([batch.ids.t().float(), batch.dense], dim=1)
    known, counts = torch.unique(samples, dim=0, return_counts=True)
    found, seen_counts = torch.unique(seen, dim=0, return_counts=True)
    times = {tuple(row.tolist()): int(count) for row, count in zip(known, counts, strict=True)}
    for row, count in zip(found, seen_counts, strict=True):
        assert count <= times[tuple(row.tolist())]


def test_the_checkpoint_of_four_processes_becomes_a_plain_one(folder, stages):
    consolidate(folder / "2.ckpt", folder / "plain")
    for path in (folder / "plain", folder / "2.ckpt"):
        collection = load(path)
        assert torch.equal(collection.lookup.weight("unified"), stages[2]["after"]["unified.weight"])


def test_the_same_number_of_processes_goes_on_to_the_bit(prepared, tmp_path):
    """Cut in mid-epoch, with dropout; the second part begins with other seeds."""
    for folder in ("cut", "straight"):
        (tmp_path / folder).mkdir()
    for stage in (0, 1):
        torchrun("chain_worker.py", 2, tmp_path / "cut", prepared, stage)
    torchrun("chain_worker.py", 2, tmp_path / "straight", prepared, 1, "straight")
    cut, straight = (torch.load(tmp_path / name / "1.pt", weights_only=True)["after"] for name in ("cut", "straight"))
    assert cut.keys() == straight.keys()
    assert all(torch.equal(cut[name], values) for name, values in straight.items())
