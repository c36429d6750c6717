"""What a sharded run cannot do as one process does, found before training."""

from __future__ import annotations

from lightning.pytorch import Trainer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from recsys.checkpoints.place import check_local


def refuse_remote_folders(trainer: Trainer) -> None:
    """Checkpoints are folders on a file system of this machine.

    Raises:
        ValueError: with the folder.
    """
    folders = (getattr(each, "dirpath", None) for each in trainer.checkpoint_callbacks)
    for folder in (trainer.default_root_dir, *folders):
        check_local(folder or "")


def refuse_batch_norm(module: nn.Module | None) -> None:
    """Its statistics would be of each process' samples, and its averages another number in each.

    Raises:
        ValueError: with the names of the layers.
    """
    names = [] if module is None else [name for name, each in module.named_modules() if isinstance(each, _BatchNorm)]
    if names:
        raise ValueError(
            f"trainer.strategy: torchrec in several processes does not train batch normalisation ({', '.join(names)}): "
            "its statistics would differ between processes; set batch_norm: false."
        )
