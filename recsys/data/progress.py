"""Lightning's count of batches, read when a checkpoint is written and set when one is taken over."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.loops.progress import _ProcessedTracker


class FitProgress:
    """How many batches of the running epoch a trainer has trained on."""

    def __init__(self, trainer: Trainer) -> None:
        count = trainer.fit_loop.epoch_loop.batch_progress.current
        assert isinstance(count, _ProcessedTracker)
        self._count = count

    def get(self) -> int:
        """Batches whose training step is done."""
        return self._count.processed

    def set(self, num_batches: int) -> None:
        """Shift the count, so that Lightning ends the epoch with its last batch.

        Changes nothing unless the number of ranks or the batch size has changed since the checkpoint: then the rows
        already seen are another number of batches than they were.
        """
        shift = num_batches - self._count.processed
        for stage in ("ready", "started", "processed", "completed"):
            setattr(self._count, stage, getattr(self._count, stage) + shift)
