"""Reads the checkpoint folders of sharded runs in a run of one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO

from recsys import checkpoint_folder


def check_exists(path: str | Path) -> None:
    """Refuse a checkpoint that is not there.

    Raises:
        ValueError: naming it.
    """
    if "://" not in str(path) and not Path(path).exists():
        raise ValueError(f"checkpoint '{path}' does not exist.")


class FolderCheckpointIO(TorchCheckpointIO):
    """Writes single files, and reads both those and the folders that `trainer.strategy: torchrec` writes."""

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The checkpoint, with whole tensors.

        Raises:
            ValueError: if it does not exist, or a folder is not a whole checkpoint.
        """
        check_exists(path)
        if Path(path).is_dir():
            return checkpoint_folder.read(path)
        found: dict[str, Any] = super().load_checkpoint(path, map_location, weights_only)
        return found
