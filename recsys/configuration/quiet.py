"""What Lightning and torch say to their own developers does not reach a user's screen."""

from __future__ import annotations

import logging
import warnings

OF_NO_USE = (
    "LightningCLI's args parameter",  # arguments given from Python are meant, whatever the process was started with
    r".*isinstance\(treespec, LeafSpec\)",
    ".*The dirpath has changed from",  # a checkpoint that is only evaluated is not gone on with
    ".*Couldn't infer the batch indices",  # predictions are written in the order of the rows
)
"""How the warnings begin that no user can do anything about."""


class _NoTips(logging.Filter):
    """Leaves out advertisements."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is shown."""
        return "Tip: For seamless cloud" not in record.getMessage()


def keep_quiet() -> None:
    """Leave such lines out from now on; everything else is shown as before."""
    for message in OF_NO_USE:
        warnings.filterwarnings("ignore", message)
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    if not any(isinstance(each, _NoTips) for each in logger.filters):
        logger.addFilter(_NoTips())
