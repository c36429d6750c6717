"""Rows of other data carried over by the values of their ids, from a run in two processes."""

import pytest

from recsys.configuration.lightning_cli import RecsysCLI
from tests.checkpoints.words import WORDS, command, write_words
from tests.sharding.processes import ROOT, run_module

TWO = ("--trainer.strategy=TorchrecStrategy", "--trainer.strategy.replicate_rows=0", "--trainer.devices=2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Data, and data of the same values with other ids."""
    root = tmp_path_factory.mktemp("words")
    return write_words(root / "first"), write_words(root / "second", WORDS[::-1])


def fit_in_two(*words):
    return run_module(ROOT, "recsys", "fit", *words, *TWO)


def checkpoint_of(root):
    (found,) = root.rglob("epoch*.ckpt")
    return found


def auc_of(*words):
    return float(RecsysCLI.launch(["test", *words]).trainer.callback_metrics["test/auc"])


def test_a_sharded_checkpoint_is_carried_over_to_one_process(folders, tmp_path):
    first, second = folders
    fit_in_two(*command(first, tmp_path / "two"))
    checkpoint = checkpoint_of(tmp_path / "two")
    assert checkpoint.is_dir()
    remap = (f"--ckpt_path={checkpoint}", f"--remap={first}")
    assert auc_of(*command(second, tmp_path / "test"), *remap) == 1.0
