"""The contract of an embedding table: route ids to rows, combine the rows that come back.

Shape letters used throughout: B batch, F features, G tables of one kind stacked in a group, D embedding_dim, K lookups
per id, N ids, R num_rows, V num_embeddings, W width of all rows of one id laid side by side.
"""

from __future__ import annotations

import inspect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from recsys.tables.contract_checks import check_combined
from recsys.tables.kept_state import KeptState
from recsys.tables.numbers import check_number
from recsys.tables.physical import MAX_INIT_STD, PhysicalTable
from recsys.tables.placement import INTEGERS
from recsys.tables.startable import Startable
from recsys.tables.upkeep import Rows

DEFAULT_INIT_STD = 0.05 / math.sqrt(3)
MAX_INT = 1 << 62
"""No size and no count is larger: sums of two still fit an int64."""

Constants = Mapping[str, Any]
"""Integers by name, each a Tensor, and what a table keeps of every id, each a PerId."""


_SURROGATES = re.compile("[\ud800-\udfff]")
"""What a str may hold and no file: half a character, which has no UTF-8."""


class Table(Startable, KeptState, ABC):
    """A logical embedding table, V x D, that owns no rows: a method from a paper.

    A subclass says which matrices it needs (`physical_tables`), which row of each an id reads (`route`) and how the
    rows become the id's vector (`combine`). `route` and `combine` run for G tables of the same kind at once, on the
    first of them: what differs between tables arrives in `constants` and `parameters`, and what they read of `self`
    must be equal in all of a group, which `signature` sees to; but see `routes_by_state`.

    Args:
        name: the feature's (or shared table's) name; seeds and storage are named after it.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D, width of the vector a model receives.

    Raises:
        ValueError: on an empty name, a name with a dot, sizes below 1, or an init_std out of range.
    """

    linear: ClassVar[bool] = True
    """Whether `combine` commutes with sum pooling: it is linear in the rows and depends on no id."""

    sums: ClassVar[bool] = False
    """Whether `combine` is the sum of the rows and nothing else, so that a lookup may add them up as it reads them."""

    leaves_out: ClassVar[bool] = False
    """Whether `route` may give -1, no row."""

    repeats_cost: ClassVar[bool] = False
    """Whether a vector costs so much that ids which repeat in a batch are better found out, and computed once.

    A collection does so on a CPU."""

    shares_rows: ClassVar[bool] = False
    """Whether many ids read one row, so wide that it is better read once for all, by `combine_shared`.

    Of tables without parameters for whom repeats cost; a collection does so on a CPU."""

    moves_rows: ClassVar[bool] = False
    """Whether rows pass from id to id while training, so that no other table may read them."""

    counts_batches: ClassVar[bool] = False
    """Whether `observe` counts training batches and nothing else: which ids are in them changes nothing."""

    awaits_checkpoint: bool = False
    """Whether what it is made of, as StoredCodes, is in a checkpoint alone, and it is nothing until that is loaded."""

    reconciled: ClassVar[frozenset[str]] = frozenset()
    """What is kept of every id that `reconcile` compares with a checkpoint's, value by value."""

    routes_by_state: ClassVar[bool] = False
    """Whether `route` reads what the table itself keeps, so that the tables of a group are routed one by one."""

    sizes: ClassVar[frozenset[str]] = frozenset(
        {"name", "num_embeddings", "num_rows", "budget_bytes", "budget_fraction", "init_std"}
    )
    """Arguments in which the tables of a group may differ: `route` and `combine` see them in what they are given."""

    def __init__(self, name: str, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__(name, num_embeddings)
        if not name or "." in name or (not name.isascii() and _SURROGATES.search(name)):
            raise ValueError(
                f"{type(self).__name__}: name must be non-empty, without '.' and valid UTF-8, got {name!r}."
            )
        self.embedding_dim = embedding_dim
        self.require("num_embeddings", num_embeddings, 1)
        self.require("embedding_dim", embedding_dim, 1)
        init_std = self.arguments.get("init_std", DEFAULT_INIT_STD)
        check_number(f"{type(self).__name__} '{name}'", "init_std", init_std, 0, MAX_INIT_STD)

    def require(self, argument: str, value: int, low: int, high: int | None = None, high_name: str = "") -> None:
        """Raise a ValueError unless low <= value <= high; what no int64 holds is never in range."""
        if high is None and isinstance(value, int) and value > MAX_INT:
            high, high_name = MAX_INT, "2**62"
        if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
            bound = f"at least {low}" if high is None else f"in [{low}, {high_name}{'=' if high_name else ''}{high}]"
            raise ValueError(f"{type(self).__name__} '{self.name}': {argument} must be {bound}, got {value!r}.")

    def forward(self, *_: object, **__: object) -> Tensor:
        """Refuse to be called: a table owns no rows.

        Raises:
            NotImplementedError: saying what has them.
        """
        raise NotImplementedError(
            f"{type(self).__name__} '{self.name}' owns no rows; call Embedding(table), EmbeddingBag(table) or a "
            "TableCollection of it."
        )

    @abstractmethod
    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """The matrix that each of the K lookups reads; one matrix may serve several, and K may be 0."""

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """Rows to read, by integer arithmetic that broadcasts; -1 is no row, and reads zeros that nothing trains.

        Shape:
            ids [..., 1, N], each constant [..., K, 1] or [..., K, N] -> rows [..., K, N]
        """
        raise AssertionError(f"{type(self).__name__} reads rows, so it must route ids to them.")

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """The vector of each id from its K rows laid side by side; by default they are the vector.

        Shape:
            rows [N, G, W], parameters [G, ...] each, ids [N, G], constants [G, K] or [N, G, K] -> [N, G, D]
        """
        return rows

    def combine_pieces(
        self, pieces: Sequence[Tensor], parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants
    ) -> Tensor:
        """What `combine` gives for its rows cut in pieces, each the rows of one or several neighbouring lookups.

        To be overridden where rows need not lie side by side to be combined; equal to the bit.

        Shape:
            pieces [N, G, W'] each; the rest as in `combine`
        """
        rows = pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), dim=-1)
        return self.combine(rows, parameters, ids, constants)

    def combine_shared(self, pieces: Sequence[Tensor], places: Tensor) -> Tensor:
        """What `combine` gives, from the distinct rows of each lookup; for tables that share rows.

        Shape:
            pieces [M_k, W_k] of K lookups, places [K, N] of the row that each id reads -> [N, D]
        """
        raise AssertionError(f"{type(self).__name__} shares rows, so it must combine shared ones.")

    def sized_among(self, tables: Sequence[Table]) -> Table:
        """This table as it is in a collection of `tables`: itself, unless its size depends on those it shares with."""
        return self

    def regularizer(self) -> Tensor | None:
        """A penalty of the method's parameters that is added to the loss, or None."""
        return None

    def penalty(self, rows: Tensor, vectors: Tensor, parameters: Mapping[str, Tensor]) -> Tensor | None:
        """A penalty of each id that a training batch has read, or None; their sum is added to a loss that sums.

        Shape:
            rows [N, G, W], vectors [N, G, D], parameters [G, ...] each -> [N, G]
        """
        return None

    def observe(self, ids: Tensor, rows: Rows) -> None:
        """Take note of the ids [N] of a training batch, before they are routed; may read, write and move rows.

        Several processes that share rows all see the ids of all, and must decide alike.
        """

    def on_epoch_end(self, rows: Rows) -> None:
        """After an epoch of training; may read, write and move rows, alike in all processes."""

    def served(self, rows: Rows) -> tuple[Table, dict[str, Tensor]] | None:
        """What stands for this table once training is over: another table, and the values of its matrices by name.

        Its vectors are those of this table as it is now. None: the table is served as it was trained.

        Args:
            rows: where this table's rows are; several processes must make the call together.
        """
        return None

    def served_bytes(self) -> int | None:
        """Bytes of what `served` gives, matrices in float32; None where the table is served as it was trained."""
        return None

    def rows_of(self, ids: Tensor) -> Tensor:
        """The rows that ids of this table alone read: [N] in range -> [K, N].

        Raises:
            ValueError: if they are no Tensor of integers.
        """
        if not isinstance(ids, Tensor) or ids.dtype not in INTEGERS:
            got = ids.dtype if isinstance(ids, Tensor) else type(ids).__name__
            raise ValueError(f"{type(self).__name__} '{self.name}': ids must be a Tensor of integers, got {got}.")
        return self.route(ids.unsqueeze(0), self._own_constants(-1))

    def vectors_of(self, rows: Tensor | Sequence[Tensor], ids: Tensor) -> Tensor:
        """The vectors of ids of this table alone: rows [N, W], or pieces of them, ids [N] -> [N, D]."""
        pieces = [piece.unsqueeze(1) for piece in ([rows] if isinstance(rows, Tensor) else rows)]
        parameters = {name: parameter.unsqueeze(0) for name, parameter in self.named_parameters()}
        vectors = self.combine_pieces(pieces, parameters, ids.unsqueeze(1), self._own_constants(0))
        check_combined(self, vectors, (ids.shape[0], 1))
        return vectors.squeeze(1)

    @property
    def min_epochs(self) -> int:
        """Epochs of training that the method takes at least."""
        return 1

    @property
    def observes(self) -> bool:
        """Whether the table takes note of ids."""
        return type(self).observe is not Table.observe

    @property
    def keeps_vectors(self) -> bool:
        """Whether its only matrix is the V x D one that it stands for: row i is the vector of id i."""
        return False

    @property
    def row_dims(self) -> tuple[int, ...]:
        """Width of the row that each lookup reads."""
        return tuple(physical.row_dim for physical in self.physical_tables())

    def signature(self) -> tuple[object, ...]:
        """Tables with equal signatures are stacked into one group: all they differ in is `sizes`.

        One that takes note of ids is alone, unless all that its state says is the rows that an id reads. Parameters
        and constants stack if their shapes agree.
        """
        settings = inspect.signature(type(self)).parameters
        values = {key: parameter.default for key, parameter in settings.items()} | self.arguments
        shared = tuple((key, _hashable(value)) for key, value in values.items() if key not in self.sizes)
        alone = self.name if self.observes and not self.routes_by_state else None
        stacked = [*self.named_parameters(), *self.constants().items()]
        shapes = tuple((key, tuple(values.shape)) for key, values in stacked)
        return (type(self), self.row_dims, shapes, shared, alone)

    def expected_collisions(self) -> float:
        """Expected number of ids that share their vector with an id before them; 0 where all ids are kept apart."""
        return 0.0

    def likeness(self) -> Tensor | None:
        """[V] a number that ids have in common whose vectors are the same whatever is trained; None if it knows none.

        Needed where vectors are made by matrix products, which may give two equal inputs results that differ in the
        last bit.
        """
        return None

    def logical_bytes(self, dtype: torch.dtype = torch.float32) -> int:
        """Bytes of the V x D matrix that this table stands for."""
        return self.num_embeddings * self.embedding_dim * dtype.itemsize

    def training_bytes(self) -> int:
        """Bytes that it keeps while it is trained alone; no budget counts them, as none counts optimizer state."""
        return 0

    def extra_repr(self) -> str:
        """The logical size and the matrices behind it."""
        matrices = {p.name: f"{p.num_rows}x{p.row_dim}" for p in self.physical_tables()}
        behind = ", ".join(f"{name} {shape}" for name, shape in matrices.items()) or "no rows"
        return f"'{self.name}', {self.num_embeddings}x{self.embedding_dim} in {behind}"


def _hashable(value: object) -> object:
    """A value that compares as the argument does; a tensor as the object it is."""
    if isinstance(value, list | tuple):
        return tuple(_hashable(each) for each in value)
    if isinstance(value, dict):
        return tuple((key, _hashable(each)) for key, each in value.items())
    return id(value) if isinstance(value, Tensor) else value
