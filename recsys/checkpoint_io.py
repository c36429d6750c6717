"""Reads the checkpoint folders of sharded runs in a run of one process."""

from __future__ import annotations

from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO

from recsys import checkpoint_folder


class FolderCheckpointIO(TorchCheckpointIO):
    """Writes single files, and reads both those and the folders that `trainer.strategy: torchrec` writes."""

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The checkpoint, with whole tensors.

        Raises:
            ValueError: if a folder is not a whole checkpoint.
        """
        if checkpoint_folder.is_folder(path):
            return checkpoint_folder.read(path)
        found: dict[str, Any] = super().load_checkpoint(path, map_location, weights_only)
        return found
