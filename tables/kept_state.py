"""What a table keeps beside its rows: integers that follow from its settings, and values of every id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from recsys.tables.derived import Derived, Unchanging
from recsys.tables.per_id import PerId
from recsys.tables.routing.ranks import WORD_BITS, count_before, count_bits


class KeptState(Derived):
    """Registers, counts, hands out and checks what the rows of a table are routed and combined by; see Table.

    Args:
        name: of the table.
        num_embeddings: V, its ids.
    """

    reconciled: ClassVar[frozenset[str]] = frozenset()
    """What is kept of every id that `reconcile` compares with a checkpoint's, value by value."""

    def __init__(self, name: str, num_embeddings: int) -> None:
        super().__init__()
        self.name = name
        self.num_embeddings = num_embeddings
        self._constant_names: tuple[str, ...] = ()
        self._unchanging = Unchanging(name, {})
        self._per_id_names: tuple[str, ...] = ()

    def register_constants(self, **constants: Sequence[int]) -> None:
        """Keep integers that `route` and `combine` need, a few of them, with the checkpoint; they follow from settings.

        Tables of a group have equally many; one for each lookup, as seeds are, meets its rows in `route`.
        """
        for name, values in constants.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.int64))
        self._constant_names = tuple(constants)
        self._unchanging = Unchanging(
            f"{type(self).__name__} '{self.name}'", {name: list(values) for name, values in constants.items()}
        )

    def register_per_id(self, **columns: Tensor) -> None:
        """Keep columns [V] or [C, V] of what every id has; `constants` gives them as a PerId."""
        for name, values in columns.items():
            if not values.dim() or values.shape[-1] != self.num_embeddings:
                raise ValueError(
                    f"{type(self).__name__} '{self.name}': {name} must have a value for each of "
                    f"num_embeddings={self.num_embeddings} ids, got {list(values.shape)}."
                )
        self.register_listed(**columns)

    def register_listed(self, **columns: Tensor) -> None:
        """Keep columns [N] or [C, N] of any length, such as a word for 64 ids; `constants` gives them as a PerId.

        Unlike constants they may change while training.
        """
        for name, values in columns.items():
            self.register_buffer(name, values.contiguous())
            starts = torch.arange(values.numel() // max(1, values.shape[-1])) * values.shape[-1]
            self.register_buffer(f"_first_{name}", starts, persistent=False)
        self._per_id_names = (*self._per_id_names, *columns)

    def register_kept(self, name: str, words: Tensor, num_places: int) -> int:
        """Keep bits that say which of some places are kept, for `routing.ranks.rank`; returns how many are.

        Raises:
            ValueError: unless there are as many words as the places need, and no bit beyond them.
        """
        needed = -(-num_places // WORD_BITS)
        owner = f"{type(self).__name__} '{self.name}': {name}"
        if words.dtype != torch.int64 or tuple(words.shape) != (needed,):
            raise ValueError(
                f"{owner} must be {needed} words of 64 bits, int64, for {num_places} places, got "
                f"{list(words.shape)} of {words.dtype}."
            )
        if num_places % WORD_BITS and int(words[-1]) >> (num_places % WORD_BITS):
            raise ValueError(f"{owner} has a bit beyond its {num_places} places; make it with pack_bits.")
        before = count_before(words)
        self.register_listed(**{name: words, f"before_{name}": before})
        return int(before[-1]) + int(count_bits(words[-1]))

    def constants(self) -> dict[str, Tensor]:
        """The registered integers, by name: int64 [K] each."""
        return {name: getattr(self, name) for name in self._constant_names}

    @property
    def per_id_names(self) -> tuple[str, ...]:
        """What is kept of every id."""
        return self._per_id_names

    def _own_constants(self, dim: int) -> dict[str, Any]:
        """What `route` is given, with dim -1: [K, 1]; what `combine` is given, with dim 0: [1, K]."""
        self._unchanging.check(self)
        integers = {name: self.get_buffer(name).unsqueeze(dim) for name in self._constant_names}
        per_id = {
            name: PerId(self.get_buffer(name).reshape(-1), self.get_buffer(f"_first_{name}").unsqueeze(dim))
            for name in self._per_id_names
        }
        return {**integers, **per_id}

    def own_bytes(self) -> int:
        """Bytes of this table's parameters and buffers outside its matrices; constants follow from the settings."""
        derived = {*self._constant_names, *(f"_first_{name}" for name in self._per_id_names)}
        buffers = (buffer for name, buffer in self.named_buffers() if name not in derived)
        return sum(tensor.numel() * tensor.element_size() for tensor in (*self.parameters(), *buffers))

    def reconcile(self, state: dict[str, Tensor]) -> list[str]:
        """What is wrong with what a checkpoint keeps of every id, by name; entries may be replaced before loading."""
        return []

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load, but refuse integers that would route ids to other rows than those trained."""
        errors: list[str] = args[-1]
        per_id = {name: state_dict[prefix + name] for name in self.per_id_names if prefix + name in state_dict}
        errors += self.reconcile(per_id)
        state_dict |= {prefix + name: value for name, value in per_id.items()}
        for name, mine in self._unchanging.values.items():
            theirs = state_dict.get(prefix + name)
            if theirs is not None and theirs.tolist() != mine:
                errors.append(
                    f"{type(self).__name__} '{self.name}': {name} is {theirs.tolist()} in the checkpoint and "
                    f"{mine} here; the table's name or sizes differ from those it was trained with."
                )
                state_dict[prefix + name] = self.get_buffer(name)
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.derive_missing()
