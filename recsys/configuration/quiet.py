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


ADVERTISEMENT = "Tip: For seamless cloud"
UNKNOWN_PAIR = "_fbgemm_torch_compat_table has no entry for"
"""FBGEMM 1.6 knows no torch that it goes with, its own included; `recsys doctor` does."""


class _Without(logging.Filter):
    """Leaves out lines with some words in them."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is shown."""
        return self.words not in record.getMessage()


def keep_quiet() -> None:
    """Leave such lines out from now on; everything else is shown as before."""
    for message in OF_NO_USE:
        warnings.filterwarnings("ignore", message)
    for name, words in (("lightning.pytorch.utilities.rank_zero", ADVERTISEMENT), ("root", UNKNOWN_PAIR)):
        logger = logging.getLogger(name)
        if not any(isinstance(each, _Without) for each in logger.filters):
            logger.addFilter(_Without(words))
