"""What a table keeps beside its rows: integers that follow from its settings, and values of every id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from recsys.tables.byte_pairs import from_pairs, to_pairs
from recsys.tables.derived import Derived, Unchanging
from recsys.tables.per_id import PerId
from recsys.tables.placement import INTEGERS
from recsys.tables.routing.ranks import WORD_BITS, count_before, count_bits
from recsys.tables.unaveraged import NEVER_AN_AVERAGE, UNAVERAGED


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
        self._unchanging = Unchanging(f"{type(self).__name__} '{name}'", {})
        self._per_id_names: tuple[str, ...] = ()
        self._paired: frozenset[str] = frozenset()
        self._derived: dict[str, Tensor] = {}

    def register_constants(self, **constants: Sequence[int]) -> None:
        """Keep integers that `route` and `combine` need, a few of them, with the checkpoint; they follow from settings.

        Tables of a group have equally many; one for each lookup, as seeds are, meets its rows in `route`.
        """
        for name, values in constants.items():
            super().register_buffer(name, torch.tensor(values, dtype=torch.int64))
        self._constant_names = tuple(constants)
        self._unchanging.values |= {name: list(values) for name, values in constants.items()}

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Keep it; integers beside a number that says whether all of them were averaged, which nothing else would.

        Also called where a buffer is replaced, as libraries do that load large models: what follows from the settings
        and is in no checkpoint then keeps its values.
        """
        if name in self._derived and tensor is not None and not tensor.is_meta:
            tensor = self._derived[name].to(tensor.device)
        super().register_buffer(name, tensor, persistent)
        is_state = tensor is not None and not tensor.is_floating_point() and name not in self._constant_names
        if is_state and UNAVERAGED not in self._unchanging.values:
            self._unchanging.values[UNAVERAGED] = NEVER_AN_AVERAGE
            self._register_derived(UNAVERAGED, torch.tensor(NEVER_AN_AVERAGE))

    def _register_derived(self, name: str, values: Tensor) -> None:
        """A buffer that no checkpoint has."""
        self._derived[name] = values
        self.register_buffer(name, values.clone(), persistent=False)

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

        Unlike constants they may change while training. Those of int16 are kept as twice as many bytes, see `listed`.
        """
        for name, values in columns.items():
            is_paired = values.dtype == torch.int16
            self._register_column(name, to_pairs(values) if is_paired else values.contiguous(), is_paired)

    def take_listed(self, other: KeptState, names: Mapping[str, str]) -> None:
        """Keep what another keeps, in the same memory, under these names of its names."""
        for own, new in names.items():
            self._register_column(new, other.get_buffer(own), own in other._paired)

    def _register_column(self, name: str, kept: Tensor, is_paired: bool) -> None:
        self.register_buffer(name, kept)
        self._paired |= {name} if is_paired else set()
        self._per_id_names = (*self._per_id_names, name)
        length = kept.shape[-1] // (2 if is_paired else 1)
        starts = torch.arange(kept.numel() // max(1, kept.shape[-1])) * length
        self._register_derived(f"_first_{name}", starts)

    def listed(self, name: str) -> Tensor:
        """Columns [N] or [C, N] as they were registered; a copy of those of int16."""
        return self._as_given(name, self.get_buffer(name))

    def write_listed(self, name: str, places: Tensor, values: Tensor) -> None:
        """Overwrite columns [C, N] at places [M] by [C, M]."""
        kept = self.get_buffer(name)
        if name in self._paired:
            pairs = to_pairs(values.to(torch.int16)).unflatten(-1, (-1, 2))
            kept.unflatten(-1, (-1, 2))[:, places] = pairs
        else:
            kept[:, places] = values.to(kept.dtype)

    def memory_of(self, name: str) -> Tensor:
        """Columns one after the other, as a PerId reads them: [C * N], or [C * N, 2] of bytes."""
        kept = self.get_buffer(name)
        return kept.reshape(-1, 2) if name in self._paired else kept.reshape(-1)

    def _as_given(self, name: str, kept: Tensor) -> Tensor:
        """A buffer of this name as its columns were registered; those of int16 were once saved as they are."""
        if name not in self._paired or kept.dtype != torch.uint8 or kept.shape[-1] % 2:
            return kept
        return from_pairs(kept.unflatten(-1, (-1, 2))).to(torch.int16)

    def given_again(self, values: Tensor) -> Tensor:
        """What a constructor was given of every id [..., V], which may be the bytes [..., 2 V] that are kept of it."""
        if values.dtype == torch.uint8 and values.shape[-1:] == (2 * self.num_embeddings,):
            return from_pairs(values.unflatten(-1, (-1, 2)))
        return values

    def listed_dtype(self, name: str) -> torch.dtype:
        """Of columns as they were registered."""
        return torch.int16 if name in self._paired else self.get_buffer(name).dtype

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
            name: PerId(self.memory_of(name), self.get_buffer(f"_first_{name}").unsqueeze(dim))
            for name in self._per_id_names
        }
        return {**integers, **per_id}

    def derived_names(self) -> set[str]:
        """Buffers that follow from the settings, and the shapes of others."""
        return {*self._constant_names, *self._derived}

    def own_bytes(self) -> int:
        """Bytes of this table's parameters and buffers outside its matrices; constants follow from the settings."""
        derived = self.derived_names()
        buffers = (buffer for name, buffer in self.named_buffers() if name not in derived)
        return sum(tensor.numel() * tensor.element_size() for tensor in (*self.parameters(), *buffers))

    def reconcile(self, state: dict[str, Tensor]) -> list[str]:
        """What is wrong with what a checkpoint keeps of every id, by name; entries may be replaced before loading."""
        return []

    def reads_as(self) -> str:
        """How rows become vectors, where neither names nor shapes of a state tell; its metadata keep it."""
        return ""

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        known = getattr(destination, "_metadata", {}).get(prefix[:-1])
        if known is not None and self.reads_as():
            known["reads_as"] = self.reads_as()

    def _leave_out_others(self, state_dict: dict[str, Any], prefix: str, errors: list[str]) -> None:
        """Report what is no tensor, and numbers with fractions where integers are kept, and load neither."""
        owner = f"{type(self).__name__} '{self.name}'"
        mine = {**dict(self.named_parameters(recurse=False)), **dict(self.named_buffers(recurse=False))}
        for name in {*mine, "_extra_state"}:
            found = state_dict.get(prefix + name)
            if found is None and prefix + name not in state_dict:
                continue
            if not isinstance(found, Tensor):
                errors.append(f"{owner}: {name} must be a Tensor, got {type(found).__name__}.")
            elif name in mine and not mine[name].is_floating_point() and found.dtype not in INTEGERS:
                errors.append(f"{owner}: {name} must be integers, got {found.dtype}.")
            elif found.layout != torch.strided or (found.is_meta and name in mine and not mine[name].is_meta):
                errors.append(
                    f"{owner}: {name} must be an ordinary tensor with values, got {found.layout} on '{found.device}'."
                )
            else:
                continue
            state_dict[prefix + name] = mine[name] if name in mine else self.get_extra_state()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load, but refuse integers that would route ids to other rows than those trained."""
        errors: list[str] = args[-1]
        theirs_read, mine_read = args[0].get("reads_as"), self.reads_as()
        if theirs_read is not None and theirs_read != mine_read:
            errors.append(
                f"{type(self).__name__} '{self.name}': the state is of {theirs_read}, and this table of "
                f"{mine_read or 'something else'}; build the one that was saved."
            )
        self._leave_out_others(state_dict, prefix, errors)
        found = {name: state_dict[prefix + name] for name in self.per_id_names if prefix + name in state_dict}
        per_id = {name: self._as_given(name, value) for name, value in found.items()}
        errors += self.reconcile(per_id)
        for name, value in per_id.items():
            is_paired = name in self._paired and value.dtype == torch.int16
            state_dict[prefix + name] = to_pairs(value) if is_paired else value
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
