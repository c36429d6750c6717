"""What all loaders share: an epoch that begins anew, or goes on where a checkpoint says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar


class Progress(Protocol):
    """The trainer's count of the batches of the running epoch it has trained on."""

    def get(self) -> int:
        """Batches trained on."""

    def set(self, num_batches: int) -> None:
        """Make the trainer believe that it has trained on that many."""


class Position(Protocol):
    """Where in an epoch's order all ranks together are."""

    @property
    def epoch(self) -> int:
        """The epoch."""


P = TypeVar("P", bound=Position)
B = TypeVar("B")


def counts_of(state: Mapping[str, Any], names: Sequence[str]) -> list[int]:
    """Whole numbers of a saved position.

    Raises:
        ValueError: naming what is missing, or none.
    """
    if not isinstance(state, Mapping):
        raise ValueError(f"a loader's state must be a mapping, as its state_dict() gives, got {type(state).__name__}.")
    for name in names:
        value = state.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"a loader's state must have {name}, a whole number of at least 0, got {value!r}.")
    return [state[name] for name in names]


class ResumableLoader(ABC, Generic[P, B]):
    """Iterates over the batches B of one rank from a position P on.

    Args:
        progress: the trainer's own count of batches; without it a batch counts as used once it is handed out.
    """

    batch_sampler = None
    """Lightning asks every loader with a sampler for one."""

    _position: P
    _started: bool
    _num_yielded: int

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self._loaded = False
        self._go_to(self._whole(epoch=0))

    @abstractmethod
    def _whole(self, epoch: int) -> P:
        """The start of an epoch."""

    @abstractmethod
    def _num_left(self, position: P) -> int:
        """Batches of one rank from a position to the end of its epoch."""

    @abstractmethod
    def _batches(self, position: P) -> Iterator[B]:
        """Those batches."""

    @abstractmethod
    def _identity(self) -> dict[str, Any]:
        """What the order depends on apart from the position; a state of another order is refused."""

    @property
    def sampler(self) -> Self:
        """Where Lightning looks for `set_epoch`."""
        return self

    def __len__(self) -> int:
        """Batches of a whole epoch, also while an epoch is being resumed."""
        return self._num_left(self._whole(epoch=0))

    def __iter__(self) -> Iterator[B]:
        """The batches from the position on; the position is read when the first batch is asked for."""
        if self._started:
            self._go_to(self._whole(self._position.epoch))
        self._started = True
        for batch in self._batches(self._position):
            self._num_yielded += 1
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, or stay where the loaded state says if it is of this epoch."""
        if self._loaded and self.progress is not None:
            # A run that `max_steps` stopped has counted its epoch as done: the next one is whole.
            is_same = epoch == self._position.epoch
            self.progress.set(len(self) - self._num_left(self._position) if is_same else 0)
        self._loaded = False
        if epoch != self._position.epoch:
            self._go_to(self._whole(epoch))

    def _load(self, position: P, state: dict[str, Any], where: str) -> None:
        """Go to a saved position.

        Raises:
            ValueError: if the state is of other data, or of another order.
        """
        for key, value in self._identity().items():
            if state.get(key) != value:
                raise ValueError(
                    f"the checkpoint was left in the middle of an epoch{where} with {key}={state.get(key)}, now "
                    f"{key}={value}; set it back, or load the weights alone."
                )
        self._go_to(position)
        self._loaded = True

    def _go_to(self, position: P) -> None:
        self._position = position
        self._started = False
        self._num_yielded = 0

    def _num_used(self) -> int:
        """Batches since the position; a batch handed out ahead of its training step is not yet used."""
        if self.progress is None:
            return self._num_yielded
        num_before = len(self) - self._num_left(self._position)
        return max(0, min(self._num_yielded, self.progress.get() - num_before))
