"""A lookup owns the matrices and their optimiser, and turns row numbers into rows.

A *store* holds matrices of one kind, stacked: a row of a matrix is a row of its store, counted from the matrix' first.
A *request* is what one group of features asks for in one batch. All requests of a batch are answered together, so that
a store is read once, and costs what the ids that are there cost.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recsys.tables.lookups.gradients import Record, RowGradients, read_rows
from recsys.tables.lookups.optimizers import DenseGradient, Frozen, TableOptimizer
from recsys.tables.lookups.started import InputDistribution, StartedLookup
from recsys.tables.physical import PhysicalTable

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where the rows of a matrix are.

    Args:
        store: which store of the lookup.
        first_row: of the matrix, among the rows of the store.
    """

    store: int
    first_row: int


@dataclass(frozen=True)
class Request:
    """Row numbers that one group of features asks for.

    Shape:
        rows [G, K, N] of the matrices, -1 is no row; first_rows [G, K, 1] or [G, K, N], where a matrix begins in its
        store -> rows of all K side by side [N, G, W]

    Args:
        rows: see above.
        first_rows: see above.
        stores: that each of the K lookups reads.
        matrices: that may be read.
    """

    rows: Tensor
    first_rows: Tensor
    stores: tuple[int, ...]
    matrices: frozenset[str]

    def of(self, store: int) -> tuple[Tensor, Tensor]:
        """The same rows [G, K', N] of those K' lookups that read a store, and where their matrices begin."""
        runs = self.runs(store)
        return _picked(self.rows, runs, len(self.stores)), _picked(self.first_rows, runs, len(self.stores))

    def runs(self, store: int) -> list[tuple[int, int]]:
        """Neighbouring lookups that read a store, as (first, past the last)."""
        reads = [each == store for each in self.stores]
        edges = [slot for slot, (before, after) in enumerate(pairwise([False, *reads, False])) if before != after]
        return list(zip(edges[::2], edges[1::2], strict=True))


def _picked(values: Tensor, runs: Sequence[tuple[int, int]], num_lookups: int) -> Tensor:
    if runs == [(0, num_lookups)]:
        return values
    pieces = [values[:, first:last] for first, last in runs]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)


class Store(nn.Module, ABC):
    """Matrices of one width, dtype and optimiser, stacked: what a back-end implements.

    Args:
        tables: the matrices, in order.
        optimizer: of their rows.
        dtype: of the rows.
        device: where they live.
        seed: that rows are drawn from.
    """

    def __init__(
        self,
        tables: Sequence[PhysicalTable],
        optimizer: TableOptimizer,
        dtype: torch.dtype,
        device: torch.device,
        seed: int,
    ) -> None:
        super().__init__()
        self.tables = {table.name: table for table in tables}
        self.optimizer = optimizer
        self.dtype = dtype
        self.device = device
        self.seed = seed
        self.row_dim = tables[0].row_dim
        self.first_rows: dict[str, int] = {}
        self.num_rows = 0
        for table in tables:
            self.first_rows[table.name] = self.num_rows
            self.num_rows += table.num_rows
        self.num_steps = 0

    @property
    def steps(self) -> bool:
        """Whether rows are trained here; dense gradients step elsewhere, frozen rows never."""
        return not isinstance(self.optimizer, DenseGradient | Frozen)

    reads_at_once: ClassVar[bool] = False
    """Whether all that is asked of it in a batch is better asked together."""

    def numbers(self, rows: Tensor, first_rows: Tensor) -> Tensor:
        """Row numbers of the store, id after id.

        Shape:
            rows [G, K, N] of the matrices, first_rows [G, K, 1] or [G, K, N] -> [N * G * K]
        """
        return torch.where(rows < 0, -1, rows + first_rows).permute(2, 0, 1).reshape(-1)

    @abstractmethod
    def gather(self, rows: Tensor) -> Tensor:
        """Rows [N, row_dim] of row numbers [N], zeros for -1; differentiable only with a DenseGradient."""

    @abstractmethod
    def step(self, rows: Tensor, grad: Tensor, learning_rate: float) -> None:
        """One optimizer step.

        Shape:
            rows [N], any number of times each, -1 is no row; grad [N, row_dim]
        """

    @abstractmethod
    def square_norm(self, rows: Tensor, grad: Tensor) -> Tensor:
        """Sum of the squares of the gradient of every row, those of equal rows added up first; a scalar."""

    def merged(self, rows: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """The same gradients with those of equal rows added up."""
        return rows, grad

    def start(self, rows: Tensor, waits: bool = False) -> InputDistribution | None:
        """Send row numbers to where their rows live; None where they are at hand.

        Args:
            rows: [N].
            waits: return when they have arrived.
        """
        return None

    def look_up(self, distribution: InputDistribution) -> Tensor:
        """What `gather` gives for the row numbers that `start` has sent."""
        raise AssertionError(f"{type(self).__name__} starts no lookups.")

    def at_home(self, record: Record) -> tuple[Tensor, Tensor]:
        """Row numbers and gradients of a read, where the rows live."""
        return record.rows, record.grad

    def kinds(self) -> dict[str, int]:
        """Width of the rows and of their optimizer state, by kind."""
        return {"weight": self.row_dim, **self.optimizer.state_dims(self.row_dim)}

    @abstractmethod
    def matrix(self, kind: str) -> Tensor:
        """All rows [R, width] of the store, or their state of a kind: the memory itself."""

    def view(self, table: str, kind: str) -> Tensor:
        """The part of `matrix` that is one table's."""
        return self.matrix(kind).detach().narrow(0, self.first_rows[table], self.tables[table].num_rows)

    def tensors(self, table: str) -> dict[str, Tensor]:
        """Copies or views of a matrix [R, row_dim], its "weight", and of its optimizer state [R, width], by kind."""
        return {kind: self.view(table, kind) for kind in self.kinds()}

    def saved_tensors(self, table: str) -> dict[str, Any]:
        """What a checkpoint keeps of a matrix: its tensors, or each process' part of them."""
        return self.tensors(table)

    @torch.no_grad()
    def load_tensor(self, table: str, kind: str, values: Any) -> None:
        """Overwrite the weight or a state of one matrix, with all its values or with what `saved_tensors` gives."""
        self.view(table, kind).copy_(values)
        self.forget_cached()

    @torch.no_grad()
    def draw(self) -> None:
        """Fill in fresh rows, block by block: nothing is held twice."""
        for table in self.tables.values():
            weight = self.view(table.name, "weight")
            for start, block in table.initial_blocks(0, table.num_rows, self.dtype, seed=self.seed):
                weight[start : start + len(block)].copy_(block)
        self.forget_cached()

    def read_rows(self, table: str, kind: str, rows: Tensor) -> Tensor:
        """Values [M, width] of rows [M] of a matrix."""
        return self.view(table, kind).index_select(0, rows)

    @torch.no_grad()
    def write_rows(self, table: str, kind: str, rows: Tensor, values: Tensor) -> None:
        """Overwrite rows [M] of a matrix or its state."""
        matrix = self.view(table, kind)
        matrix.index_copy_(0, rows, values.to(matrix))
        self.forget_cached()

    def forget_cached(self) -> None:
        """After rows were written where they are kept: drop the copies that a cache has of them."""

    def stored_bytes(self, table: PhysicalTable) -> int:
        """Bytes that a matrix takes in this store."""
        return table.num_rows * self.row_dim * self.dtype.itemsize

    def state_bytes(self, table: PhysicalTable) -> int:
        """Bytes of the optimizer state that this store keeps of a matrix."""
        return table.num_rows * sum(self.optimizer.state_dims(self.row_dim).values()) * state_dtype(self.dtype).itemsize

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move to a device; rows and their state keep their dtypes, except that of parameters."""
        return keep_dtypes(super()._apply, fn, recurse)

    def _save_to_state_dict(self, *args: Any) -> None:
        """The lookup saves for its stores, by matrix name."""

    def _load_from_state_dict(self, *args: Any) -> None:
        """The lookup loads for its stores."""


def keep_dtypes(apply: Callable[..., T], fn: Callable[[Tensor], Tensor], recurse: bool) -> T:
    """Apply `fn` to a module's tensors, but let those that are no parameters keep their dtype.

    Args:
        apply: the module's own `_apply`.
        fn: moves a tensor, and may change its dtype.
        recurse: see nn.Module._apply.
    """

    def moved(tensor: Tensor) -> Tensor:
        found = fn(tensor)
        is_kept = found.dtype == tensor.dtype or isinstance(tensor, nn.Parameter)
        return found if is_kept else tensor.to(found.device)

    return apply(moved, recurse)


StoreFactory = Callable[[Sequence[PhysicalTable], TableOptimizer, torch.dtype, torch.device, int], Store]
"""Called as Store is."""


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """Of the optimizer state of rows: narrow rows have float32 state, or small steps would be lost."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class Lookup(nn.Module, ABC):
    """All matrices of a collection, spread over stores; answers the requests of a batch.

    The checkpoint names matrices, never stores: what one kind of lookup saved, any other loads.

    Args:
        tables: the matrices by name.
        optimizers: the optimiser of every matrix, by name.
        reads: how many rows of each matrix a sample with one id of every feature reads.
        dtype: of the rows of matrices without a dtype of their own, and of all that is read.
        device: where they live.
        seed: that rows are drawn from; None takes torch's global seed.
        clip_rows: see TableCollection.
    """

    trains_in_groups: ClassVar[bool] = False
    """Whether rows stay equal where several processes train them."""

    def __init__(
        self,
        tables: Mapping[str, PhysicalTable],
        optimizers: Mapping[str, TableOptimizer],
        reads: Mapping[str, int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        seed: int | None = None,
        clip_rows: bool = False,
    ) -> None:
        super().__init__()
        self.tables = dict(tables)
        self.reads = dict(reads)
        # What is read takes the dtype that a module is moved to; the rows keep theirs.
        self.register_buffer("_example", torch.zeros((), dtype=dtype), persistent=False)
        kinds: dict[tuple[Hashable, torch.dtype], list[PhysicalTable]] = {}
        for name, table in tables.items():
            own_dtype = table.dtype or dtype
            kinds.setdefault((self.store_key(table, optimizers[name], own_dtype), own_dtype), []).append(table)
        seed = torch.initial_seed() if seed is None else seed
        self.stores = nn.ModuleList()
        self._places: dict[str, Place] = {}
        for (key, own_dtype), members in kinds.items():
            make = self.store_factory(key)
            store = make(members, optimizers[members[0].name], own_dtype, torch.device(device), seed)
            for name, first_row in store.first_rows.items():
                self._places[name] = Place(len(self.stores), first_row)
            self.stores.append(store)
        for store in self._all():
            store.draw()
        self.gradients = RowGradients(self._all(), torch.device(device), clip_rows)

    @property
    def dtype(self) -> torch.dtype:
        """Of all that is read."""
        return self.get_buffer("_example").dtype

    def _all(self) -> list[Store]:
        return [store for store in self.stores if isinstance(store, Store)]

    @abstractmethod
    def store_key(self, table: PhysicalTable, optimizer: TableOptimizer, dtype: torch.dtype) -> Hashable:
        """Matrices with equal keys go to one store; a key is a tuple that begins with its class."""

    def store_factory(self, key: Hashable) -> StoreFactory:
        """What makes the store of the matrices with one key: the class that the key begins with."""
        assert isinstance(key, tuple)
        factory: StoreFactory = key[0]
        return factory

    def place(self, table: str) -> Place:
        """Where the rows of a matrix are."""
        return self._places[table]

    def forward(self, requests: Sequence[Request], started: StartedLookup | None = None) -> list[Tensor]:
        """Rows [N, G, W] of every request; see Request.

        Args:
            requests: of a batch.
            started: what `start` gave for these requests.
        """
        self._refuse_group()
        self.gradients.refuse_averages()
        found: list[dict[int, Tensor]] = [{} for _ in requests]
        for number, store in enumerate(self._all()):
            asked = [i for i, request in enumerate(requests) if number in request.stores]
            if not asked:
                continue
            distribution = started.distributions[number] if started else None
            for part in [asked] if store.reads_at_once else _without_common_matrices(requests, asked):
                rows = [store.numbers(*requests[i].of(number)) for i in part]
                flat = rows[0] if len(rows) == 1 else torch.cat(rows)
                vectors = read_rows(store, self.gradients, flat, part[0], distribution).to(self.dtype)
                # The backward pass of a split into one piece copies it.
                pieces = vectors.split([len(each) for each in rows]) if len(rows) > 1 else [vectors]
                for i, piece in zip(part, pieces, strict=True):
                    found[i][number] = piece
        return [_side_by_side(request, found[i]) for i, request in enumerate(requests)]

    def _refuse_group(self) -> None:
        """Rows that each process trains by itself would drift apart without a word."""
        if self.trains_in_groups or not self.training or self.gradients.is_frozen or not torch.is_grad_enabled():
            return
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            raise ValueError(
                f"{type(self).__name__} trains rows in one process, and this is one of {dist.get_world_size()}; use "
                "lookup=TorchrecLookup, or optimizer=DenseGradient() or Frozen()."
            )

    def start(self, requests: Sequence[Request]) -> StartedLookup:
        """Send row numbers to where their rows live; `forward` then reads the rows as they are when it is called."""
        distributions = []
        for number, store in enumerate(self._all()):
            rows = [store.numbers(*request.of(number)) for request in requests if number in request.stores]
            distributions.append(store.start(torch.cat(rows)) if rows else None)
        return StartedLookup(distributions)

    def step(self, learning_rate_factor: float = 1.0) -> None:
        """One optimizer step with the gradients of all backward passes since the last; see RowGradients."""
        self.gradients.step(learning_rate_factor)

    def param_groups(self) -> list[dict[str, object]]:
        """Rows with dense gradients, with their settings, and what stands for the others, for a dense optimizer."""
        groups: list[dict[str, object]] = []
        for store in self._all():
            rows = list(store.parameters())
            settings = store.optimizer
            if rows:
                rate = {"lr": settings.learning_rate} if settings.learning_rate else {}
                decay = {} if settings.weight_decay is None else {"weight_decay": settings.weight_decay}
                groups.append({"params": rows, **decay, **rate})
        handles = list(self.gradients.parameters())
        return [*groups, {"params": handles, "weight_decay": 0.0}] if handles else groups

    def weight(self, table: str) -> Tensor:
        """The matrix [R, row_dim] of a name."""
        return self.tensors(table)["weight"]

    def store_of(self, table: str) -> Store:
        """The store of a matrix."""
        return self._all()[self._places[table].store]

    def tensors(self, table: str) -> dict[str, Tensor]:
        """The matrix of a name and its optimizer state, by kind; of sharded rows all processes must ask together."""
        return self.store_of(table).tensors(table)

    def load_weight(self, table: str, values: Tensor) -> None:
        """Overwrite a matrix, as with pretrained rows.

        Raises:
            ValueError: if the shape differs, or a value is not finite.
        """
        wanted = (self.tables[table].num_rows, self.tables[table].row_dim)
        if tuple(values.shape) != wanted:
            raise ValueError(f"physical table '{table}': rows must have shape {wanted}, got {tuple(values.shape)}.")
        if values.is_floating_point() and not bool(values.isfinite().all()):
            row = int((~values.isfinite()).any(1).nonzero()[0])
            raise ValueError(f"physical table '{table}': rows must be finite, but row {row} is not.")
        self.store_of(table).load_tensor(table, "weight", values)

    def read_rows(self, table: str, rows: Tensor) -> Tensor:
        """See recsys.tables.upkeep.Rows."""
        return self.store_of(table).read_rows(table, "weight", rows)

    def write_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """See recsys.tables.upkeep.Rows."""
        self.store_of(table).write_rows(table, "weight", rows, values)

    def copy_rows(self, table: str, sources: Tensor, targets: Tensor) -> None:
        """See recsys.tables.upkeep.Rows."""
        store = self.store_of(table)
        for kind in store.kinds():
            store.write_rows(table, kind, targets, store.read_rows(table, kind, sources))

    def reset_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """See recsys.tables.upkeep.Rows."""
        store = self.store_of(table)
        for kind, width in store.kinds().items():
            fresh = values if kind == "weight" else values.new_zeros(len(rows), width)
            store.write_rows(table, kind, rows, fresh)

    def agree_on(self, tensors: Sequence[Tensor]) -> None:
        """Give tensors the values that they have in the first of all processes that share these rows."""

    def of_all_processes(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Each part [N] as all processes that share these rows have it together; here there is one process."""
        return list(parts)

    def stored_bytes(self, table: str) -> int:
        """Bytes that a matrix takes, padding included."""
        return self.store_of(table).stored_bytes(self.tables[table])

    def state_bytes(self, table: str) -> int:
        """Bytes of the optimizer state that is kept here of a matrix; a dense optimizer keeps its own."""
        return self.store_of(table).state_bytes(self.tables[table])

    def dense_parameter(self, table: str) -> nn.Parameter | None:
        """The parameter with a matrix's rows, and maybe those of others; None if they have no dense gradient."""
        return next(self.store_of(table).parameters(), None)

    def dtype_of(self, table: str) -> torch.dtype:
        """The dtype of a matrix."""
        return self.store_of(table).dtype

    def optimizer_of(self, table: str) -> TableOptimizer:
        """The optimiser of a matrix."""
        return self.store_of(table).optimizer

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for name in self.tables:
            store = self.store_of(name)
            for kind, tensor in store.saved_tensors(name).items():
                destination[f"{prefix}{name}.{kind}"] = tensor
            destination[f"{prefix}{name}.num_steps"] = torch.tensor(store.num_steps)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        known = set()
        for name in self.tables:
            store = self.store_of(name)
            for kind, width in store.kinds().items():
                key = f"{prefix}{name}.{kind}"
                known.add(key)
                if key not in state_dict:
                    missing_keys.append(key)
                elif tuple(state_dict[key].shape) != (self.tables[name].num_rows, width):
                    error_msgs.append(
                        f"physical table '{name}': {kind} has shape {tuple(state_dict[key].shape)} in the checkpoint "
                        f"and {(self.tables[name].num_rows, width)} here."
                    )
                else:
                    store.load_tensor(name, kind, state_dict[key])
            steps_key = f"{prefix}{name}.num_steps"
            known.add(steps_key)
            if steps_key in state_dict:
                store.num_steps = int(state_dict[steps_key])
        own = re.compile(re.escape(prefix))
        unexpected_keys.extend(key for key in state_dict if own.match(key) and key not in known)


def _without_common_matrices(requests: Sequence[Request], asked: Sequence[int]) -> list[list[int]]:
    """Requests apart that read no matrix together: neither their rows nor their gradients are copied to one place."""
    parts: list[tuple[list[int], frozenset[str]]] = []
    for i in asked:
        met = [part for part in parts if part[1] & requests[i].matrices]
        parts = [part for part in parts if part not in met]
        members = sorted([i, *(each for part in met for each in part[0])])
        parts.append((members, requests[i].matrices.union(*(part[1] for part in met))))
    return [members for members, _ in parts]


def _side_by_side(request: Request, found: Mapping[int, Tensor]) -> Tensor:
    """What every store gave for a request, put together in the order of its lookups: [N, G, W]."""
    num_groups, _, num_ids = request.rows.shape
    if len(found) == 1:
        (vectors,) = found.values()
        return vectors.view(num_ids, num_groups, len(request.stores) * vectors.shape[1])
    pieces: dict[int, Tensor] = {}
    for store, vectors in found.items():
        runs = request.runs(store)
        num_lookups = sum(last - first for first, last in runs)
        by_lookup = vectors.view(num_ids, num_groups, num_lookups, vectors.shape[1])
        for (first, _), piece in zip(runs, by_lookup.split([last - first for first, last in runs], dim=2), strict=True):
            pieces[first] = piece.flatten(2)
    return torch.cat([pieces[first] for first in sorted(pieces)], dim=2)


LookupFactory = Callable[..., Lookup]
"""Called as Lookup is."""
