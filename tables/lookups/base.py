"""A lookup owns the matrices and their optimiser, and turns row numbers into rows.

A *store* holds matrices of one kind, stacked: a row of a matrix is a row of its store, counted from the matrix' first.
A *request* is what one group of features asks for in one batch. All requests of a batch are answered together, so that
a store is read once, and costs what the ids that are there cost.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.tables.lookups.gradients import RowGradients
from recsys.tables.lookups.optimizers import TableOptimizer
from recsys.tables.lookups.reading import read_rows
from recsys.tables.lookups.requests import Place, Request, side_by_side, without_common_matrices
from recsys.tables.lookups.row_checks import check_named, check_rows, check_values, problem_of
from recsys.tables.lookups.started import StartedLookup
from recsys.tables.lookups.store import Store, StoreFactory
from recsys.tables.lookups.summed import added_up
from recsys.tables.physical import PhysicalTable
from recsys.tables.placement import check_floats, checked_device


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

    @typed
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
        owner = type(self).__name__
        check_floats(owner, dtype)
        device = checked_device(owner, device)
        check_named(owner, tables, optimizers, reads)
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
            store = make(members, optimizers[members[0].name], own_dtype, device, seed)
            for name, first_row in store.first_rows.items():
                self._places[name] = Place(len(self.stores), first_row)
            self.stores.append(store)
        for store in self._all():
            store.draw()
        self.gradients = RowGradients(self._all(), device, clip_rows)

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
        """Where the rows of a matrix are.

        Raises:
            ValueError: if there is no such matrix.
        """
        if table not in self._places:
            raise ValueError(f"{type(self).__name__} has no physical table {table!r}; it has {sorted(self._places)}.")
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
            for part in [asked] if store.reads_at_once else without_common_matrices(requests, asked):
                rows = [store.numbers(*requests[i].of(number)) for i in part]
                flat = rows[0] if len(rows) == 1 else torch.cat(rows)
                # Rows are added up in the dtype of what is read.
                at_once = len(part) == 1 and store.dtype == self.dtype
                num_summed = requests[part[0]].num_summed if at_once else 1
                vectors = read_rows(store, self.gradients, flat, part[0], distribution, num_summed).to(self.dtype)
                # The backward pass of a split into one piece copies it.
                pieces = vectors.split([len(each) for each in rows]) if len(rows) > 1 else [vectors]
                for i, piece in zip(part, pieces, strict=True):
                    found[i][number] = piece if at_once else added_up(piece, requests[i].num_summed)
        return [side_by_side(request, found[i]) for i, request in enumerate(requests)]

    @property
    def is_frozen(self) -> bool:
        """Whether all rows are to keep their values: none takes a gradient, dense or not."""
        return not any(parameter.requires_grad for parameter in self.parameters())

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
        return self._all()[self.place(table).store]

    def tensors(self, table: str) -> dict[str, Tensor]:
        """The matrix of a name and its optimizer state, by kind; of sharded rows all processes must ask together."""
        return self.store_of(table).tensors(table)

    def load_weight(self, table: str, values: Tensor) -> None:
        """Overwrite a matrix, as with pretrained rows.

        Raises:
            ValueError: if the shape differs, or a value is not finite.
        """
        store = self.store_of(table)
        wanted = (self.tables[table].num_rows, self.tables[table].row_dim)
        check_values(table, values)
        if tuple(values.shape) != wanted:
            raise ValueError(f"physical table '{table}': rows must have shape {wanted}, got {tuple(values.shape)}.")
        if values.is_floating_point() and not bool(values.isfinite().all()):
            row = int((~values.isfinite()).any(1).nonzero()[0])
            raise ValueError(f"physical table '{table}': rows must be finite, but row {row} is not.")
        store.load_tensor(table, "weight", values)

    def read_rows(self, table: str, rows: Tensor) -> Tensor:
        """See recsys.tables.upkeep.Rows."""
        store = self.store_of(table)
        check_rows(self.tables[table], rows)
        return store.read_rows(table, "weight", rows)

    def write_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """See recsys.tables.upkeep.Rows."""
        store = self.store_of(table)
        check_rows(self.tables[table], rows, values)
        store.write_rows(table, "weight", rows, values)

    def copy_rows(self, table: str, sources: Tensor, targets: Tensor) -> None:
        """See recsys.tables.upkeep.Rows."""
        store = self.store_of(table)
        check_rows(self.tables[table], sources)
        check_rows(self.tables[table], targets)
        if len(sources) != len(targets):
            raise ValueError(f"physical table '{table}': {len(sources)} rows cannot be copied to {len(targets)}.")
        for kind in store.kinds():
            store.write_rows(table, kind, targets, store.read_rows(table, kind, sources))

    def reset_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """See recsys.tables.upkeep.Rows."""
        store = self.store_of(table)
        check_rows(self.tables[table], rows, values)
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
                elif (
                    problem := problem_of(state_dict[key], (self.tables[name].num_rows, width), store.dtype)
                ) is not None:
                    error_msgs.append(f"physical table '{name}': {kind} {problem}.")
                else:
                    store.load_tensor(name, kind, state_dict[key])
            steps_key = f"{prefix}{name}.num_steps"
            known.add(steps_key)
            steps = state_dict.get(steps_key)
            if isinstance(steps, Tensor) and not steps.is_meta:
                store.num_steps = int(steps)
        own = re.compile(re.escape(prefix))
        unexpected_keys.extend(key for key in state_dict if own.match(key) and key not in known)


LookupFactory = Callable[..., Lookup]
"""Called as Lookup is."""
