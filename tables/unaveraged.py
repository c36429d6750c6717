"""A number that tells whether the integers beside it were averaged."""

from __future__ import annotations

import torch
from torch import nn

from recsys.tables.derived import Unchanging

UNAVERAGED = "_unaveraged"
NEVER_AN_AVERAGE = (1 << 62) + 1
"""Averages of integers are made in floats, which do not hold it: copied it stays, averaged with itself it does not."""


class Unaveraged(nn.Module):
    """Notices that the buffers of the module that it is in were averaged, as AveragedModel(use_buffers=True) does.

    Args:
        owner: whose they are, for messages.
    """

    def __init__(self, owner: str) -> None:
        super().__init__()
        self.register_buffer(UNAVERAGED, torch.tensor(NEVER_AN_AVERAGE), persistent=False)
        self._unchanging = Unchanging(owner, {UNAVERAGED: NEVER_AN_AVERAGE})

    def check(self) -> None:
        """Refuse averages.

        Raises:
            RuntimeError: naming the owner.
        """
        self._unchanging.check(self)
