"""Averages of weights and the weights themselves, whenever a run ends."""

import pytest
import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from recsys.data import CTRDataModule
from recsys.tasks import WeightEMA
from tests.tasks.test_ctr import make_task, make_trainer


class Stumble(Callback):
    """Ends a run in the middle of a validation."""

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if not trainer.sanity_checking:
            raise RuntimeError("stumbled")


def saved(prepared, folder, *callbacks):
    """What is saved of an epoch, and nothing of any other."""
    seed_everything(0, verbose=False)
    data = CTRDataModule(prepared, batch_size=100)
    saves = ModelCheckpoint(folder, "saved", save_on_exception=True, enable_version_counter=False)
    trainer = make_trainer(
        folder, callbacks=[WeightEMA(0.9), saves, *callbacks], enable_checkpointing=True, max_epochs=1
    )
    try:
        trainer.fit(make_task(data), datamodule=data)
    finally:
        (path,) = folder.glob("*.ckpt")
    return torch.load(path, weights_only=True)


def test_what_is_saved_in_the_middle_of_a_validation_is_what_is_saved_after_it(prepared, tmp_path):
    whole = saved(prepared, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="stumbled"):
        saved(prepared, tmp_path / "stumbled", Stumble())
    (path,) = (tmp_path / "stumbled").glob("*.ckpt")
    found = torch.load(path, weights_only=True)
    assert found["global_step"] == whole["global_step"]
    for part in ("state_dict", "current_model_state"):
        assert found[part].keys() == whole[part].keys()
        assert all(torch.equal(found[part][name], value) for name, value in whole[part].items()), part
