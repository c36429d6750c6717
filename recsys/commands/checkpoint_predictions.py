"""Predictions of a checkpoint on its data: what `recsys evaluate --ckpt_path` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.configuration.suggestions import explain

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule


def predict_for(checkpoint: Path, command: Sequence[str], columns: Sequence[str], folder: Path) -> Path:
    """Predict in ``folder`` and return the file that `lightning predict` writes.

    Args:
        checkpoint: of `lightning fit`.
        command: what follows `lightning predict`: -c CONFIG and overrides.
        columns: to group or slice by.
        folder: an empty folder.

    Raises:
        ValueError: if the checkpoint does not exist, or the predictions will not have such a column.
    """
    from recsys.configuration.lightning_cli import RecsysCLI
    from recsys.tasks import PredictionWriter

    # A relative path would be one below the folder that the trainer is given.
    path = folder.absolute() / "predictions.parquet"

    class EvaluatedCLI(RecsysCLI):
        """Predicts into the folder, once it is known that nothing will be missing."""

        def before_predict(self) -> None:
            """Find what is missing before any work begins."""
            for writer in self.trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(writer, PredictionWriter):
                    writer.path, writer.announces = path, False
            known = _columns(self.datamodule)
            for name in columns:
                if name not in known:
                    raise ValueError(explain(f"predictions have no column '{name}'", name, known))

    if not checkpoint.exists():
        raise ValueError(f"--ckpt_path: '{checkpoint}' does not exist.")
    quiet = [f"--trainer.default_root_dir={folder}", "--trainer.logger=false"]
    # The checkpoint comes last: a config that a run has written names another, or none.
    EvaluatedCLI.launch(["predict", *command, *quiet, f"--ckpt_path={checkpoint}"])
    return path


def _columns(data: LightningDataModule) -> list[str]:
    """What the predictions of these data will have to group or slice by."""
    from recsys.data import CTRDataModule

    if isinstance(data, CTRDataModule):
        features = [column.name for column in data.schema.columns if column.kind != "dense"]
        return ["label", *features, *getattr(data, "predict_columns", ())]
    return ["user", "target"]
