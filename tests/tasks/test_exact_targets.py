"""Trainers in half precision round what the model reads, and neither the labels nor what samples weigh."""

import pytest
import torch
from lightning.pytorch import Trainer

from recsys.data.batch import Batch
from recsys.tasks.exact_targets import keep_targets


@pytest.mark.parametrize("precision", ["16-true", "bf16-true", "32-true", "64-true"])
def test_weights_and_labels_keep_their_values(precision):
    trainer = Trainer(accelerator="cpu", precision=precision, logger=False, enable_checkpointing=False)
    keep_targets(trainer)
    keep_targets(trainer)
    batch = Batch(
        ids=torch.zeros(1, 2, dtype=torch.int64),
        bags={},
        dense=torch.full((2, 1), 257.0),
        labels=torch.tensor([0.3, 1.0]),
        weights=torch.tensor([257.0, 70_001.0]),
    )
    found = trainer.precision_plugin.convert_input(batch)
    assert torch.equal(found.labels.float(), batch.labels)
    assert torch.equal(found.weights.float(), batch.weights)
    wanted = {"16-true": torch.half, "bf16-true": torch.bfloat16, "32-true": torch.float32, "64-true": torch.float64}
    assert found.dense.dtype == wanted[precision]
    assert batch.dense.dtype == torch.float32
