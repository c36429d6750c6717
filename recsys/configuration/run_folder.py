"""The folder of a run, version_0, version_1, ...: each belongs to the run that made it, whoever else begins with it."""

from __future__ import annotations

import os

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only


class ClaimedTensorBoardLogger(TensorBoardLogger):
    """Logs to a folder that this run has made, which is what claims it."""

    def _get_next_version(self) -> int:
        """The next number that no other run has, claimed when it is first asked for.

        Raises:
            OSError: if the folder cannot be made.
        """
        number: int = super()._get_next_version()
        if getattr(rank_zero_only, "rank", 0) != 0 or "://" in str(self.root_dir):
            return number
        os.makedirs(self.root_dir, exist_ok=True)
        while True:
            try:
                os.mkdir(os.path.join(self.root_dir, f"version_{number}"))
            except FileExistsError:
                number += 1
            else:
                return number


class CSVLoggerBeside(CSVLogger):
    """Writes metrics.csv to the folder csv/ of another logger's run.

    Args:
        logger: whose run folder it is.
    """

    def __init__(self, logger: ClaimedTensorBoardLogger) -> None:
        super().__init__(logger.save_dir, version="csv")
        self._beside = logger

    @property
    def version(self) -> int | str:
        """That of the other, which the progress bar shows."""
        return self._beside.version

    @property
    def log_dir(self) -> str:
        """The folder of metrics.csv."""
        return os.path.join(self._beside.log_dir, "csv")
