from __future__ import annotations

from itertools import chain

import pytest

from recsys.data import CTRDataModule
from tests.data.folders import numbers, write_folder
from tests.data.runs import train


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "numbers", num_rows=100)


def test_a_missing_folder_fails_before_anything_else(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"recsys prepare criteo --raw train\.txt --out .*criteo"):
        CTRDataModule(tmp_path / "criteo")


@pytest.mark.parametrize(
    ("argument", "value"), [("batch_size", 0), ("eval_batch_size", -1), ("seed", -1), ("shuffle_blocks", 0)]
)
def test_bad_arguments_are_named(folder, argument, value):
    with pytest.raises(ValueError, match=f"CTRDataModule: {argument} must be at least [01], got {value}"):
        CTRDataModule(folder, **{argument: value})


@pytest.mark.parametrize(
    ("stage", "split"), [("fit", "train"), ("fit", "val"), ("validate", "val"), ("test", "test"), ("predict", "test")]
)
def test_setup_checks_the_files_of_its_stage(folder, stage, split):
    (folder / split / "part-00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=f"{split}/part-00000.parquet: not a readable Parquet file"):
        CTRDataModule(folder).setup(stage)


def test_setup_leaves_other_splits_alone(folder):
    (folder / "train" / "part-00000.parquet").write_bytes(b"")
    data = CTRDataModule(folder)
    data.setup("test")
    assert sum(len(batch) for batch in data.test_dataloader()) == 25


def test_splits_other_than_train_keep_their_order(folder):
    data = CTRDataModule(folder, batch_size=16, eval_batch_size=20)
    for loader, num_rows in (
        (data.val_dataloader(), 50),
        (data.test_dataloader(), 25),
        (data.predict_dataloader(), 25),
    ):
        batches = [numbers(batch) for batch in loader]
        assert list(chain.from_iterable(batches)) == list(range(num_rows))
        assert {len(batch) for batch in batches[:-1]} == {20}
        assert len(loader) == len(batches)


def test_predict_split_and_eval_batch_size_follow_the_arguments(folder):
    data = CTRDataModule(folder, batch_size=16, predict_split="val")
    assert [len(batch) for batch in data.predict_dataloader()] == [16, 16, 16, 2]


def test_shuffle_can_be_turned_off_and_the_last_batch_dropped(folder):
    data = CTRDataModule(folder, batch_size=30, shuffle=False, drop_last=True)
    batches = [numbers(batch) for batch in data.train_dataloader()]
    assert batches == [list(range(start, start + 30)) for start in (0, 30, 60)]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_overfitting_repeats_the_same_batches(folder):
    model = train(CTRDataModule(folder, batch_size=16), overfit_batches=2)
    assert model.seen == [list(range(16)), list(range(16, 32))] * 3


def test_threads_are_half_the_cores_of_a_process_where_nothing_is_said(folder, monkeypatch):
    for cores, threads in ((1, 1), (2, 1), (8, 4), (96, 8)):
        monkeypatch.setattr("recsys.data.ctr.num_cores", lambda cores=cores: cores)
        assert CTRDataModule(folder).val_dataloader().num_threads == threads
    assert CTRDataModule(folder, num_threads=3).val_dataloader().num_threads == 3
    with pytest.raises(ValueError, match="num_threads must be at least 1, got 0"):
        CTRDataModule(folder, num_threads=0)
