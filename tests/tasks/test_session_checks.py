"""Data and rows that do not fit a next-item task are refused before a batch, or a baseline, is made."""

import json

import pytest

from recsys.data import SessionDataModule
from recsys.losses import FullCrossEntropy
from recsys.models import HSTU, PISA, BERT4Rec
from recsys.tables import DenseGradient, RowWiseAdagrad, TorchLookup
from recsys.tasks import BaselineMetrics, MaskedItems, NextItemTask, PISATask, TableOptions, baseline_metrics
from tests.data.test_session_data import write_folder
from tests.tasks.made_items import MAX_LENGTH, make_trainer, sasrec


@pytest.fixture
def folder(tmp_path):
    rows = [(user, [1 + (user + k) % 9 for k in range(8)], 1 + user % 9) for user in range(12)]
    return write_folder(tmp_path / "made", {"train": rows, "val": rows, "test": rows})


@pytest.fixture
def without_times(folder):
    schema = json.loads((folder / "schema.json").read_text())
    (folder / "schema.json").write_text(json.dumps({**schema, "has_times": False}))
    return folder


def make(folder, task=NextItemTask, model=sasrec, lengths=None, **arguments):
    data = SessionDataModule(folder, batch_size=4, **(lengths or {"max_length": MAX_LENGTH}))
    return task(model, data.schema, 8, MAX_LENGTH, lookup=TorchLookup, **arguments), data


def refused(tmp_path, monkeypatch, made, stage="fit"):
    """The message of the refusal; baselines must not have run."""
    monkeypatch.setattr(baseline_metrics, "baseline_metrics", lambda *arguments: pytest.fail("baselines ran"))
    trainer = make_trainer(tmp_path, max_epochs=1, callbacks=[BaselineMetrics()])
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        getattr(trainer, stage)(made[0], datamodule=made[1])
    return str(refusal.value)


def test_train_sequences_of_one_event(tmp_path, monkeypatch):
    rows = [(user, [1 + (user + k) % 9 for k in range(8)], 1 + user % 9) for user in range(12)]
    short = [(user, items[:1], target) for user, items, target in rows]
    folder = write_folder(tmp_path / "short", {"train": short, "val": rows, "test": rows})
    assert "no train sequence has two events" in refused(tmp_path, monkeypatch, make(folder))


@pytest.mark.parametrize("stage", ["fit", "test"])
def test_times_that_the_data_lack(without_times, tmp_path, monkeypatch, stage):
    said = refused(tmp_path, monkeypatch, make(without_times, PISATask, PISA), stage)
    assert said.startswith("PISATask cuts sessions by time: prepare the data with times, or use NextItemTask; ")
    assert said.endswith("made' has sessions without times.")
    made = make(without_times, model=lambda *sizes: HSTU(*sizes, use_times=True))
    assert "HSTU: use_times=True needs times; set use_times: false; " in refused(tmp_path, monkeypatch, made, stage)


@pytest.mark.parametrize(
    ("lengths", "objective", "message"),
    [
        ({"max_length": 7}, {}, "SessionDataModule: max_length=7 exceeds NextItemTask's max_length=6; give both the"),
        (
            {"max_length": 6, "train_length": 8},
            {},
            "train_length=8 is more than NextItemTask trains on with max_length=6; ",
        ),
        (
            {"max_length": 6},
            {"objective": MaskedItems(), "model": BERT4Rec},
            "train_length=7 is more than NextItemTask trains on with max_length=6; set",
        ),
    ],
)
def test_sessions_longer_than_the_model_reads(folder, tmp_path, monkeypatch, lengths, objective, message):
    assert message in refused(tmp_path, monkeypatch, make(folder, lengths=lengths, **objective))


FITS = {
    "one chunk": {"loss": FullCrossEntropy(12), "table_optimizer": RowWiseAdagrad(0.1)},
    "dense chunks": {"loss": FullCrossEntropy(4), "table_optimizer": DenseGradient()},
    "frozen chunks": {
        "loss": FullCrossEntropy(4),
        "table_optimizer": RowWiseAdagrad(0.1),
        "table_options": {"default": TableOptions(freeze=True)},
    },
    "trimmed": {"objective": MaskedItems(), "model": BERT4Rec, "lengths": {"max_length": 9, "train_length": 6}},
    "longest": {"lengths": {"max_length": 6, "train_length": 7}},
    "own loss": {"task": PISATask, "model": PISA, "table_optimizer": RowWiseAdagrad(0.1), "lengths": {"max_length": 8}},
}


@pytest.mark.parametrize("arguments", FITS.values(), ids=FITS.keys())
def test_what_fits_trains(folder, tmp_path, arguments):
    task, data = make(folder, **arguments)
    trainer = make_trainer(tmp_path, max_epochs=1)
    trainer.fit(task, datamodule=data)
    assert trainer.global_step > 0
