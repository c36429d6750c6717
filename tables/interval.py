"""Tables that look at the ids of several training batches together before they decide about their rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from recsys.tables.base import Table
from recsys.tables.upkeep import Rows


class IntervalTable(Table):
    """Keeps the ids of interval batches, decides, and forgets them; ids that wait are saved with the checkpoint."""

    moves_rows = True
    routes_by_state = True

    def wait_for(self, interval: int) -> None:
        """Begin to keep ids; to be called by the constructor.

        Args:
            interval: training batches between decisions.
        """
        self._interval = interval
        self.register_buffer("num_waiting_batches", torch.zeros(1, dtype=torch.int64))
        self._waiting: list[Tensor] = []
        self._num_waiting = 0

    @abstractmethod
    def decide(self, ids: Tensor, rows: Rows) -> None:
        """Decide which ids have which rows.

        Args:
            ids: [N] of all batches of an interval.
            rows: the matrices, to be changed accordingly.
        """

    @torch.no_grad()
    def observe(self, ids: Tensor, rows: Rows) -> None:
        """Keep the ids until an interval ends, then decide."""
        # A copy: a batch may be written over before the interval ends.
        self._waiting.append(ids.reshape(-1).to(torch.int64, copy=True))
        self._num_waiting += 1
        self.get_buffer("num_waiting_batches").fill_(self._num_waiting)
        if self._num_waiting < self._interval:
            return
        self.decide(self.get_extra_state().to(ids.device), rows)
        self._waiting, self._num_waiting = [], 0
        self.get_buffer("num_waiting_batches").zero_()

    def training_bytes(self) -> int:
        """Bytes of the ids that wait, which follow from the size of batches; every process holds them."""
        return sum(ids.numel() * ids.element_size() for ids in self._waiting)

    def get_extra_state(self) -> Tensor:
        """The ids that wait: as a buffer their changing number would be refused by what copies buffers."""
        device = self.get_buffer("num_waiting_batches").device
        return torch.cat([torch.zeros(0, dtype=torch.int64, device=device), *(ids.to(device) for ids in self._waiting)])

    def set_extra_state(self, state: Any) -> None:
        """Take the waiting ids of a checkpoint, and count its batches on the host: a GPU is asked nothing each step."""
        waiting = self.get_buffer("num_waiting_batches")
        self._waiting = [state.to(waiting.device, copy=True)]
        self._num_waiting = int(waiting)
