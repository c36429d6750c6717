"""A run that was stopped goes on with the very next batch, and ends with the same weights to the bit."""

from __future__ import annotations

import multiprocessing
import signal

import pytest
import torch
from lightning.pytorch import Trainer

from recsys.data import CTRDataModule
from tests.data.folders import write_folder
from tests.data.runs import Recorder, checkpoints_in, train

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SCENES = {
    "plain": {},
    "validation in mid-epoch": {"val_check_interval": 3},
    "validation at a fraction": {"val_check_interval": 0.5},
    "accumulation": {"accumulate_grad_batches": 2},
    "limited batches": {"limit_train_batches": 4},
    "limited fraction": {"limit_train_batches": 0.6},
    "max steps": {"max_epochs": -1, "max_steps": 16},
    "no validation": {"limit_val_batches": 0},
    "loaders made anew": {"reload_dataloaders_every_n_epochs": 1},
    "loaders made early": {"one_cycle": True},
}


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "numbers", num_rows=100, group_rows=(16, 9))


def data_of(folder, batch_size=16):
    return CTRDataModule(folder, batch_size=batch_size, seed=3, shuffle_blocks=2)


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_a_run_resumed_at_any_step_equals_the_uninterrupted_one(tmp_path, folder, scene):
    options = {**scene}
    one_cycle = options.pop("one_cycle", False)
    whole = train(data_of(folder), Recorder(one_cycle=one_cycle), checkpoints_in(tmp_path / "steps"), **options)
    steps = sorted(int(path.stem) for path in (tmp_path / "steps").glob("*.ckpt") if path.stem != "last")
    assert len(steps) > 5
    for step in steps:
        checkpoint = tmp_path / "steps" / f"{step}.ckpt"
        resumed = train(data_of(folder), Recorder(one_cycle=one_cycle), resume=checkpoint, **options)
        num_before = torch.load(checkpoint)["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"]
        assert resumed.seen == whole.seen[num_before:], f"step {step}"
        assert torch.equal(resumed.weight, whole.weight), f"step {step}"


def test_a_run_stopped_by_max_steps_goes_on_with_a_whole_epoch(tmp_path, folder):
    stopped = train(data_of(folder), Recorder(), checkpoints_in(tmp_path / "steps"), max_steps=4, max_epochs=-1)
    stopped.trainer.save_checkpoint(tmp_path / "stopped.ckpt")
    resumed = train(data_of(folder), resume=tmp_path / "stopped.ckpt", max_epochs=3)
    whole = train(data_of(folder), max_epochs=3)
    assert resumed.seen == whole.seen[len(whole.seen) // 3 :]


def run_and_be_killed(folder, checkpoints):
    train(data_of(folder), Recorder(kill_at=10), checkpoints_in(checkpoints))


def test_a_run_killed_by_the_system_resumes_from_its_last_checkpoint(tmp_path, folder):
    process = multiprocessing.get_context("spawn").Process(target=run_and_be_killed, args=(folder, tmp_path / "killed"))
    process.start()
    process.join(timeout=120)
    assert process.exitcode == -signal.SIGKILL
    whole = train(data_of(folder))
    resumed = train(data_of(folder), resume=tmp_path / "killed" / "last.ckpt")
    assert resumed.seen == whole.seen[10:]
    assert torch.equal(resumed.weight, whole.weight)


def train_two_ranks(folder, tmp_path):
    """Rank after rank, the batches each trained on; checkpoints of every step are left behind."""
    keeper = checkpoints_in(tmp_path / "steps")
    train(data_of(folder), Keeping(tmp_path), keeper, devices=2, strategy="ddp_spawn")
    return [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]


class Keeping(Recorder):
    """Writes what it has seen to a file of its rank."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_fit_end(self):
        torch.save(self.seen, self.folder / f"{self.global_rank}.pt")


def test_two_ranks_share_every_epoch_and_one_can_take_over(tmp_path, folder):
    ranks = train_two_ranks(folder, tmp_path)
    assert [len(seen) for seen in ranks] == [3 * 4] * 2
    for epoch in range(3):
        rows = [row for seen in ranks for batch in seen[4 * epoch : 4 * epoch + 4] for row in batch]
        assert sorted(rows) == list(range(100))
    resumed = train(data_of(folder), resume=tmp_path / "steps" / "6.ckpt")
    second = [row for seen in ranks for batch in seen[4:6] for row in batch]
    rows = [row for batch in resumed.seen for row in batch]
    assert sorted(second + rows[:36]) == list(range(100))
    assert sorted(rows[36:]) == list(range(100))


@pytest.mark.parametrize("batch_size", [5, 16, 40])
def test_another_batch_size_finishes_the_epoch_and_runs_the_next_ones_whole(tmp_path, folder, batch_size):
    whole = train(data_of(folder), None, checkpoints_in(tmp_path / "steps"))
    for step in (1, 6, 7, 8, 14):
        later = data_of(folder, batch_size)
        resumed = train(later, resume=tmp_path / "steps" / f"{step}.ckpt")
        rows = [row for batch in whole.seen[:step] + resumed.seen for row in batch]
        epochs = [sorted(rows[start : start + 100]) for start in (0, 100, 200)]
        assert len(rows) == 300
        assert epochs == [list(range(100))] * 3


def test_another_batch_size_after_an_epoch_cut_short(tmp_path, folder):
    train(data_of(folder, 40), None, checkpoints_in(tmp_path / "steps"), limit_train_batches=0.6)
    resumed = train(data_of(folder, 5), resume=tmp_path / "steps" / "1.ckpt", limit_train_batches=0.6)
    assert len(resumed.seen) == 2 * 12


def test_an_epoch_order_is_the_same_in_every_run_and_another_each_epoch(folder):
    first, second = train(data_of(folder)), train(data_of(folder))
    assert first.seen == second.seen
    assert len({tuple(map(tuple, first.seen[start : start + 7])) for start in (0, 7, 14)}) == 3


def test_the_state_is_for_training_alone(tmp_path, folder):
    train(data_of(folder), None, checkpoints_in(tmp_path / "steps"), max_epochs=1)
    fresh, data = train(data_of(folder)), data_of(folder)
    Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False).validate(
        Recorder(), data, ckpt_path=tmp_path / "steps" / "3.ckpt", verbose=False
    )
    assert train(data).seen == fresh.seen
