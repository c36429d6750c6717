"""The contract of an embedding table: route ids to rows, combine the rows that come back.

Shape letters used throughout: B batch, F features, G tables of one kind stacked in a group, D embedding_dim, K lookups
per id, N ids, R num_rows, V num_embeddings, W width of all rows of one id laid side by side.
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from recsys.tables.routing.hashes import name_seed

DEFAULT_INIT_STD = 0.05 / math.sqrt(3)


@dataclass(frozen=True)
class PhysicalTable:
    """A matrix that memory holds. Two with one name are one matrix and must agree in everything else.

    Args:
        name: identity of the storage.
        num_rows: R, rows.
        row_dim: width of a row in values.
        init_std: rows start uniform in +-sqrt(3) * init_std, from a seed made of the name.
    """

    name: str
    num_rows: int
    row_dim: int
    init_std: float

    def num_bytes(self, dtype: torch.dtype = torch.float32) -> int:
        """Bytes of the matrix."""
        return self.num_rows * self.row_dim * dtype.itemsize

    def initial_rows(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Fresh rows [R, row_dim]; they depend on torch's global seed and on the name, not on the order of building."""
        rows = torch.empty(self.num_rows, self.row_dim, dtype=dtype)
        bound = math.sqrt(3) * self.init_std
        return rows.uniform_(-bound, bound, generator=named_generator(self.name))

    def initial_blocks(
        self, first: int, last: int, dtype: torch.dtype = torch.float32, block_values: int = 1 << 20
    ) -> Iterator[tuple[int, Tensor]]:
        """Rows first to last - 1 of `initial_rows`, to the bit, without ever holding more than a block of them.

        Rows before `first` are drawn as well, since each draw follows from the one before.

        Args:
            first: row to begin with.
            last: row to stop before.
            dtype: of the rows.
            block_values: values of a block, which has at least one row.

        Yields:
            The first row of a block and the block's rows, which the next block overwrites.
        """
        bound, generator = math.sqrt(3) * self.init_std, named_generator(self.name)
        block = torch.empty(max(1, min(last, block_values // self.row_dim)), self.row_dim, dtype=dtype)
        for start in range(0, last if first < last else 0, len(block)):
            rows = block[: last - start].uniform_(-bound, bound, generator=generator)
            if start + len(rows) > first:
                skipped = max(0, first - start)
                yield start + skipped, rows[skipped:]


def named_seed(name: str) -> int:
    """A seed in [0, 2**63) made of torch's global seed and a name."""
    return (torch.initial_seed() ^ name_seed(name)) & ((1 << 63) - 1)


def named_generator(name: str) -> torch.Generator:
    """A generator seeded by torch's global seed and a name."""
    return torch.Generator().manual_seed(named_seed(name))


def unique_physical_tables(tables: Sequence[Table]) -> dict[str, PhysicalTable]:
    """All matrices that the tables need, by name.

    Raises:
        ValueError: if two tables give one name to different shapes or initialisations.
    """
    found: dict[str, PhysicalTable] = {}
    owner: dict[str, str] = {}
    for table in tables:
        for physical in table.physical_tables():
            known = found.setdefault(physical.name, physical)
            if known != physical:
                raise ValueError(
                    f"tables '{owner[physical.name]}' and '{table.name}' share physical table '{physical.name}' but "
                    f"declare ({known.num_rows} rows x {known.row_dim}, std {known.init_std:.4g}) and "
                    f"({physical.num_rows} rows x {physical.row_dim}, std {physical.init_std:.4g}); "
                    "make them equal or give them two names."
                )
            owner.setdefault(physical.name, table.name)
    return found


class Table(nn.Module, ABC):
    """A logical embedding table, V x D, that owns no rows: a method from a paper.

    A subclass says which matrices it needs (`physical_tables`), which row of each an id reads (`route`) and how the
    rows become the id's vector (`combine`). `route` and `combine` work on G tables of the same kind at once: their
    integers arrive stacked in `constants`, their parameters stacked in `parameters`.

    Args:
        name: the feature's (or shared table's) name; seeds and storage are named after it.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D, width of the vector a model receives.

    Raises:
        ValueError: on an empty name, a name with a dot, or sizes below 1.
    """

    linear: ClassVar[bool] = True
    """Whether `combine` commutes with sum pooling."""

    arguments: dict[str, object]
    """What the constructor was given, by name: with it the same table can be built again."""

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Note the arguments; a copy is made without any and takes them over with the rest of its attributes."""
        table = super().__new__(cls)
        given = inspect.signature(cls).bind_partial(*args, **kwargs).arguments
        object.__setattr__(table, "arguments", dict(given))
        return table

    def __init__(self, name: str, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        if not name or "." in name:
            raise ValueError(f"{type(self).__name__}: name must be non-empty and without '.', got {name!r}.")
        self.name = name
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.require("num_embeddings", num_embeddings, 1)
        self.require("embedding_dim", embedding_dim, 1)
        self._constant_names: tuple[str, ...] = ()

    def require(self, argument: str, value: int, low: int, high: int | None = None, high_name: str = "") -> None:
        """Raise a ValueError unless low <= value <= high."""
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            bound = f"at least {low}" if high is None else f"in [{low}, {high_name}{'=' if high_name else ''}{high}]"
            raise ValueError(f"{type(self).__name__} '{self.name}': {argument} must be {bound}, got {value!r}.")

    def register_constants(self, **constants: Sequence[int]) -> None:
        """Keep the integers that `route` needs, one per lookup, with the checkpoint."""
        for name, values in constants.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.int64))
        self._constant_names = tuple(constants)

    def constants(self) -> dict[str, Tensor]:
        """What `route` needs, by name: int64 [K] each."""
        return {name: getattr(self, name) for name in self._constant_names}

    @abstractmethod
    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """The matrix that each of the K lookups reads; one matrix may serve several."""

    @abstractmethod
    def route(self, ids: Tensor, constants: Mapping[str, Tensor]) -> Tensor:
        """Rows to read, by integer arithmetic that broadcasts.

        Shape:
            ids [..., 1, N], each constant [..., K, 1] or [..., K, N] -> rows [..., K, N]
        """

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        """The vector of each id from its K rows laid side by side; by default they are the vector.

        Shape:
            rows [N, G, W], parameters [G, ...] each -> [N, G, D]
        """
        return rows

    def sized_among(self, tables: Sequence[Table]) -> Table:
        """This table as it is in a collection of `tables`: itself, unless its size depends on those it shares with."""
        return self

    def regularizer(self) -> Tensor | None:
        """A penalty that the method adds to the loss, or None."""
        return None

    @property
    def row_dims(self) -> tuple[int, ...]:
        """Width of the row that each lookup reads."""
        return tuple(physical.row_dim for physical in self.physical_tables())

    def signature(self) -> tuple[object, ...]:
        """Tables with equal signatures can be stacked into one group."""
        return (type(self), self.embedding_dim, self.row_dims)

    def expected_collisions(self) -> float:
        """Expected number of ids without a vector of their own; 0 for every method that keeps ids apart."""
        return 0.0

    def logical_bytes(self, dtype: torch.dtype = torch.float32) -> int:
        """Bytes of the V x D matrix that this table stands for."""
        return self.num_embeddings * self.embedding_dim * dtype.itemsize

    def own_bytes(self) -> int:
        """Bytes of this table's parameters and buffers outside its matrices; constants follow from the settings."""
        buffers = (buffer for name, buffer in self.named_buffers() if name not in self._constant_names)
        return sum(tensor.numel() * tensor.element_size() for tensor in (*self.parameters(), *buffers))

    def extra_repr(self) -> str:
        """The logical size and the matrices behind it."""
        matrices = {p.name: f"{p.num_rows}x{p.row_dim}" for p in self.physical_tables()}
        behind = ", ".join(f"{name} {shape}" for name, shape in matrices.items())
        return f"'{self.name}', {self.num_embeddings}x{self.embedding_dim} in {behind}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load, but refuse integers that would route ids to other rows than those trained."""
        errors: list[str] = args[-1]
        for name, mine in self.constants().items():
            theirs = state_dict.get(prefix + name)
            if theirs is not None and not torch.equal(theirs.cpu(), mine.cpu()):
                errors.append(
                    f"{type(self).__name__} '{self.name}': {name} is {theirs.tolist()} in the checkpoint and "
                    f"{mine.tolist()} here; the table's name or sizes differ from those it was trained with."
                )
                state_dict[prefix + name] = mine
        super()._load_from_state_dict(state_dict, prefix, *args)
