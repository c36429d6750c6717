"""Reads the checkpoint folders of sharded runs in a run of one process, and replaces them by its files."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO

from recsys.checkpoints import folder as checkpoint_folder
from recsys.checkpoints.errors import reading
from recsys.checkpoints.place import check_replaceable, put_in_place


def check_exists(path: str | Path) -> None:
    """Refuse a checkpoint that is not there.

    Raises:
        ValueError: naming it.
    """
    if "://" not in str(path) and not Path(path).exists():
        raise ValueError(f"checkpoint '{path}' does not exist.")


class FolderCheckpointIO(TorchCheckpointIO):
    """Writes single files, and reads both those and the folders that `trainer.strategy: torchrec` writes."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a file; the checkpoint folder of a sharded run that is there is replaced.

        Raises:
            ValueError: if a folder holds anything but a checkpoint.
        """
        if "://" in str(path) or not Path(path).is_dir():
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        # Lightning would move its file into the folder.
        folder = Path(path)
        check_replaceable(folder)
        partial = folder.with_name(f"{folder.name}.partial-{uuid.uuid4().hex[:8]}")
        try:
            super().save_checkpoint(checkpoint, partial, storage_options)
            put_in_place(partial, folder)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The checkpoint, with whole tensors.

        Raises:
            ValueError: if it does not exist, holds code or is damaged, or a folder is not a whole checkpoint.
        """
        check_exists(path)
        if Path(path).is_dir():
            return checkpoint_folder.read(path)
        with reading(path):
            found: dict[str, Any] = super().load_checkpoint(path, map_location, weights_only)
        return found
