"""Lightning's way to checkpoints: writes whole files, and reads both those and the folders of sharded runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO

from recsys.checkpoints import file as checkpoint_file
from recsys.checkpoints import folder as checkpoint_folder
from recsys.checkpoints.errors import reading
from recsys.checkpoints.place import check_replaceable

_NEEDED = {"state_dict": dict, "epoch": int, "global_step": int, "pytorch-lightning_version": str}
_VERSION = re.compile(r"\d+(\.\d+)*(\.?(a|b|rc|dev|post)\d+)?(\+[a-z0-9.]+)?")


def check_exists(path: str | Path) -> None:
    """Refuse a checkpoint that is not there.

    Raises:
        ValueError: naming it.
    """
    if "://" not in str(path) and not Path(path).exists():
        raise ValueError(f"checkpoint '{path}' does not exist.")


def check_whole(path: str | Path, content: Any) -> None:
    """Refuse what Lightning could not go on from.

    Raises:
        ValueError: naming the path and what is missing.
    """
    for name, kind in _NEEDED.items():
        if not isinstance(content.get(name), kind):
            raise ValueError(f"checkpoint '{path}' has no {name}: it was not written by `lightning fit`.")
    version = content["pytorch-lightning_version"]
    if _VERSION.fullmatch(version) is None:
        raise ValueError(f"checkpoint '{path}' is damaged: its pytorch-lightning_version is {version!r}.")


class FolderCheckpointIO(TorchCheckpointIO):
    """Writes single files, and reads both those and the folders that `trainer.strategy: torchrec` writes."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a file; the checkpoint folder of a sharded run that is there is replaced.

        Raises:
            ValueError: if a folder holds anything but a checkpoint, or an entry could not be read again.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        if Path(path).is_dir():
            check_replaceable(Path(path))
        checkpoint_file.write(path, checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The checkpoint, with whole tensors; nothing in it is executed, whatever `weights_only` says.

        Raises:
            ValueError: if it does not exist, holds code or is damaged, or a folder is not a whole checkpoint.
        """
        check_exists(path)
        found: dict[str, Any]
        if "://" in str(path):
            with reading(path):
                found = super().load_checkpoint(path, map_location, weights_only=True)
        else:
            found = checkpoint_folder.read(path) if Path(path).is_dir() else checkpoint_file.read(path)
        check_whole(path, found)
        return found
