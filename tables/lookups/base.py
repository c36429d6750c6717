"""A lookup owns the matrices and their optimiser, and turns rows into vectors.

A *request* is what one group of features asks for in one batch: S slots, each naming the matrix it reads, and a row
number per slot and id. All requests of a batch are answered together, so that a back-end can fuse them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recsys.tables.base import PhysicalTable
from recsys.tables.lookups.optimizers import TableOptimizer
from recsys.tables.lookups.started import InputDistribution, StartedLookup

Slots = tuple[str, ...]
"""Names of the matrices that the slots of one request read."""

Route = tuple[int, list[int]]
"""A request, and those of its slots that one store answers."""


class Store(nn.Module, ABC):
    """Matrices of one kind under one optimiser: what a back-end implements.

    Args:
        tables: the matrices, in order.
        requests: for every request, the matrix each of its slots reads; may be empty.
        optimizer: updates touched rows in the backward pass.
        dtype: of the rows.
        device: where they live.
    """

    def __init__(
        self,
        tables: Sequence[PhysicalTable],
        requests: Sequence[Slots],
        optimizer: TableOptimizer,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.tables = tuple(tables)
        self.requests = tuple(requests)
        self.optimizer = optimizer
        self.dtype = dtype
        self.device = device
        self.row_dims = {table.name: table.row_dim for table in tables}
        self.num_steps = 0

    def slot_dims(self, request: int) -> list[int]:
        """Row width of every slot of a request."""
        return [self.row_dims[name] for name in self.requests[request]]

    @abstractmethod
    def forward(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Rows of all slots laid side by side, for every request.

        Shape:
            rows[i] [S_i, N_i] -> [N_i, W_i], W_i the sum of the slots' row widths
        """

    def start(self, rows: Sequence[Tensor]) -> InputDistribution | None:
        """Send row numbers to where their rows live; None where they are at hand."""
        return None

    def look_up(self, distribution: InputDistribution) -> list[Tensor]:
        """What `forward` gives for the row numbers that `start` has sent."""
        raise NotImplementedError(f"{type(self).__name__} starts no lookups.")

    @abstractmethod
    def tensors(self, table: str) -> dict[str, Tensor]:
        """Copies or views of a matrix [R, row_dim], its "weight", and of its optimizer state [R, width], by kind."""

    def saved_tensors(self, table: str) -> dict[str, Any]:
        """What a checkpoint keeps of a matrix: its tensors, or each process' part of them."""
        return self.tensors(table)

    @abstractmethod
    def load_tensor(self, table: str, kind: str, values: Any) -> None:
        """Overwrite the weight or a state of one matrix, with all its values or with what `saved_tensors` gives."""

    def widths(self, table: str) -> dict[str, int]:
        """Width of a matrix and of its optimizer state, by kind."""
        row_dim = self.row_dims[table]
        return {"weight": row_dim, **self.optimizer.state_dims(row_dim)}

    @abstractmethod
    def reset_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """Overwrite rows [M] of one matrix by values [M, row_dim], and set their optimizer state to zero."""

    @abstractmethod
    def set_learning_rate(self, learning_rate: float) -> None:
        """Step size of the next backward pass."""

    def stored_bytes(self, table: PhysicalTable) -> int:
        """Bytes that a matrix takes in this store."""
        return table.num_bytes(self.dtype)

    def _save_to_state_dict(self, *args: Any) -> None:
        """The lookup saves for its stores, by matrix name."""

    def _load_from_state_dict(self, *args: Any) -> None:
        """The lookup loads for its stores."""


StoreFactory = Callable[[Sequence[PhysicalTable], Sequence[Slots], TableOptimizer, torch.dtype, torch.device], Store]
"""Called as Store is."""


class Lookup(nn.Module, ABC):
    """All matrices of a collection, spread over stores; answers the requests of a batch.

    The checkpoint names matrices, never stores: what one kind of lookup saved, any other loads.

    Args:
        tables: the matrices by name.
        requests: for every request, the matrix each of its slots reads.
        optimizers: the optimiser of every matrix, by name.
        dtype: of the rows.
        device: where they live.
    """

    def __init__(
        self,
        tables: Mapping[str, PhysicalTable],
        requests: Sequence[Slots],
        optimizers: Mapping[str, TableOptimizer],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.tables = dict(tables)
        self.requests = tuple(requests)
        num_slots = {name: sum(slots.count(name) for slots in requests) for name in tables}
        kinds: dict[Hashable, list[PhysicalTable]] = {}
        for name, table in tables.items():
            kinds.setdefault(self.store_key(table, optimizers[name], num_slots[name], dtype), []).append(table)
        stores, self._routes = [], []
        for key, members in kinds.items():
            names = {table.name for table in members}
            picks = [[s for s, name in enumerate(slots) if name in names] for slots in requests]
            asked = [request for request, pick in enumerate(picks) if pick]
            own_requests = [tuple(requests[request][s] for s in picks[request]) for request in asked]
            make = self.store_factory(key)
            stores.append(make(members, own_requests, optimizers[members[0].name], dtype, torch.device(device)))
            self._routes.append([(request, picks[request]) for request in asked])
        self.stores = nn.ModuleList(stores)
        self._store_of = {table.name: store for store in stores for table in store.tables}

    @abstractmethod
    def store_key(
        self, table: PhysicalTable, optimizer: TableOptimizer, num_slots: int, dtype: torch.dtype
    ) -> Hashable:
        """Matrices with equal keys go to one store; a key is a tuple that begins with its class."""

    def store_factory(self, key: Hashable) -> StoreFactory:
        """What makes the store of the matrices with one key: the class that the key begins with."""
        assert isinstance(key, tuple)
        factory: StoreFactory = key[0]
        return factory

    def forward(self, rows: Sequence[Tensor], started: StartedLookup | None = None) -> list[Tensor]:
        """Rows of all slots laid side by side, for every request.

        Shape:
            rows[i] [S_i, N_i] -> [N_i, W_i], W_i the sum of the slots' row widths

        Args:
            rows: which to read.
            started: what `start` gave for these rows.
        """
        columns: list[dict[int, Tensor]] = [{} for _ in self.requests]
        whole: dict[int, Tensor] = {}
        for position, (store, route) in enumerate(self._stores_and_routes()):
            distribution = started.distributions[position] if started else None
            answers = store.look_up(distribution) if distribution else store(self._asked(rows, route))
            for own, answer in enumerate(answers):
                request, slots = route[own]
                if self._is_complete(request, slots):
                    whole[request] = answer
                else:
                    columns[request].update(zip(slots, answer.split(store.slot_dims(own), dim=1), strict=True))
        return [
            whole[request] if request in whole else torch.cat([found[s] for s in sorted(found)], dim=1)
            for request, found in enumerate(columns)
        ]

    def start(self, rows: Sequence[Tensor]) -> StartedLookup:
        """Send row numbers to where their rows live; `forward` then reads the rows as they are when it is called."""
        return StartedLookup([store.start(self._asked(rows, route)) for store, route in self._stores_and_routes()])

    def _stores_and_routes(self) -> Iterator[tuple[Store, list[Route]]]:
        return zip(dict.fromkeys(self._store_of.values()), self._routes, strict=True)

    def _asked(self, rows: Sequence[Tensor], route: list[Route]) -> list[Tensor]:
        """The rows that one store is asked for."""
        return [
            rows[request] if self._is_complete(request, slots) else rows[request][slots] for request, slots in route
        ]

    def _is_complete(self, request: int, slots: list[int]) -> bool:
        return len(slots) == len(self.requests[request])

    def set_learning_rate_factor(self, factor: float) -> None:
        """Multiply every store's own learning rate, as a warm-up does."""
        for store in dict.fromkeys(self._store_of.values()):
            store.set_learning_rate(factor * store.optimizer.learning_rate)

    def param_groups(self) -> list[dict[str, object]]:
        """Rows with dense gradients, with their settings, for a dense optimizer."""
        groups: list[dict[str, object]] = []
        for store in dict.fromkeys(self._store_of.values()):
            rows = list(store.parameters())
            settings = store.optimizer
            if rows:
                rate = {"lr": settings.learning_rate} if settings.learning_rate else {}
                groups.append({"params": rows, "weight_decay": settings.weight_decay, **rate})
        return groups

    def weight(self, table: str) -> Tensor:
        """The matrix [R, row_dim] of a name."""
        return self.tensors(table)["weight"]

    def tensors(self, table: str) -> dict[str, Tensor]:
        """The matrix of a name and its optimizer state, by kind; of sharded rows all processes must ask together."""
        return self._store_of[table].tensors(table)

    def load_weight(self, table: str, values: Tensor) -> None:
        """Overwrite a matrix, as with pretrained rows.

        Raises:
            ValueError: if the shape differs.
        """
        wanted = (self.tables[table].num_rows, self.tables[table].row_dim)
        if tuple(values.shape) != wanted:
            raise ValueError(f"physical table '{table}': rows must have shape {wanted}, got {tuple(values.shape)}.")
        self._store_of[table].load_tensor(table, "weight", values)

    def reset_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """Start rows [M] of a matrix afresh, from values [M, row_dim] and without optimizer state."""
        self._store_of[table].reset_rows(table, rows, values)

    def of_all_processes(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """Each part [N] as all processes that share these rows have it together; here there is one process."""
        return list(parts)

    def stored_bytes(self, table: str) -> int:
        """Bytes that a matrix takes, padding included."""
        store = self._store_of[table]
        return store.stored_bytes(self.tables[table])

    def state_bytes(self, table: str) -> int:
        """Bytes of the optimizer state of a matrix."""
        physical = self.tables[table]
        return self._store_of[table].optimizer.state_bytes(physical.num_rows, physical.row_dim)

    def dense_parameter(self, table: str) -> nn.Parameter | None:
        """The parameter with a matrix's rows, and maybe those of others; None if the backward pass updates them."""
        return next(self._store_of[table].parameters(), None)

    def dtype_of(self, table: str) -> torch.dtype:
        """The dtype of a matrix."""
        return self._store_of[table].dtype

    def optimizer_of(self, table: str) -> TableOptimizer:
        """The optimiser of a matrix."""
        return self._store_of[table].optimizer

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        for name, store in self._store_of.items():
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
        for name, store in self._store_of.items():
            for kind, width in store.widths(name).items():
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


LookupFactory = Callable[..., Lookup]
"""Called as Lookup is."""
