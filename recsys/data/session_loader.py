"""Batches of sessions: shared among ranks, and resumable at any batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from recsys.argument_types import typed
from recsys.data.prefetch import prefetch
from recsys.data.resumable import Progress, ResumableLoader, counts_of
from recsys.data.sequences import Ints
from recsys.data.session_batch import SessionBatch


@dataclass(frozen=True)
class _Position:
    """How many windows of an epoch's order, all ranks together, have been used; and how that order was cut."""

    epoch: int
    num_used: int
    batch_size: int


class SessionLoader(ResumableLoader[_Position, SessionBatch]):
    """Iterates over the batches of one rank.

    The ranks take turns in one order: each step takes the next batch_size windows for every rank, and the last step
    divides what is left evenly. So every window is seen once, every rank yields the same number of batches, and the
    state is one number, from which any number of ranks can go on.

    Args:
        order: all windows in an epoch's order, from (epoch, batch_size).
        make_batch: a batch of some windows.
        num_windows: W.
        identity: what the order depends on beside the epoch and the batch size; loading a state compares it.
        batch_size: windows B of a batch of one rank.
        rank: this process.
        num_ranks: all processes.
        progress: the trainer's own count of batches; without it a batch counts as used once it is handed out.
        pin_memory: make batches in page-locked memory, from which a GPU copies without being waited for.
    """

    @typed
    def __init__(
        self,
        order: Callable[[int, int], Ints],
        make_batch: Callable[[Ints], SessionBatch],
        num_windows: int,
        identity: dict[str, Any],
        *,
        batch_size: int,
        rank: int = 0,
        num_ranks: int = 1,
        progress: Progress | None = None,
        pin_memory: bool = False,
    ) -> None:
        self._order = order
        self._make_batch = (lambda windows: make_batch(windows).pin_memory()) if pin_memory else make_batch
        self._num_windows = num_windows
        self._order_identity = identity
        self.batch_size = batch_size
        self._rank = rank
        self._num_ranks = num_ranks
        super().__init__(progress)

    ranks_take_turns = True
    """Every step's windows are shared among the ranks, the first rank's first."""

    def state_dict(self) -> dict[str, Any]:
        """How many windows of which epoch have been used by all ranks."""
        position = self._position
        used = position.num_used + self._num_used() * self._step
        return {
            **self._identity(),
            "epoch": position.epoch,
            "num_used": min(used, self._num_windows),
            "batch_size": position.batch_size,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position.

        Raises:
            ValueError: if the state is of other data, or of another order of the windows.
        """
        self._load(_Position(*counts_of(state, ["epoch", "num_used", "batch_size"])), state, "")

    def _identity(self) -> dict[str, Any]:
        return self._order_identity

    @property
    def _step(self) -> int:
        """Windows that all ranks take at a time."""
        return self.batch_size * self._num_ranks

    def _whole(self, epoch: int) -> _Position:
        return _Position(epoch, 0, self.batch_size)

    def _num_left(self, position: _Position) -> int:
        return self._num_batches(self._num_windows - position.num_used)

    def _batches(self, position: _Position) -> Iterator[SessionBatch]:
        return iter(prefetch(self._make_batch, self._shares(position)))

    def _num_batches(self, num_windows: int) -> int:
        return -(-num_windows // self._step)

    def _shares(self, position: _Position) -> Iterator[Ints]:
        """This rank's windows of each step."""
        order = self._order(position.epoch, position.batch_size)[position.num_used :]
        for start in range(0, len(order), self._step):
            taken = order[start : start + self._step]
            rank, num_ranks = self._rank, self._num_ranks
            yield taken[len(taken) * rank // num_ranks : len(taken) * (rank + 1) // num_ranks]
