"""Managed collision (zero-collision hash): rows for the ids that matter now, taken back when they no longer do.

Source: torchrec's MCHManagedCollisionModule (torchrec.modules.mc_modules, 1.8), which is imported when rows are first
given out.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants
from recsys.tables.budget import Bytes, Fraction, size_or_budget
from recsys.tables.eviction import DistanceLFU, EvictionPolicy
from recsys.tables.interval import IntervalTable
from recsys.tables.physical import PhysicalTable, named_seed
from recsys.tables.routing.hashes import hashed_uniform
from recsys.tables.routing.search import lower_bound
from recsys.tables.upkeep import Rows

_OPEN_SLOT = torch.iinfo(torch.int64).max


class ManagedCollisionTable(IntervalTable):
    """num_rows - 1 ids have a row of their own, as the policy decides from the ids seen in training; others share one.

    After every eviction_interval training batches the ids of these batches compete with those that have rows. An id
    that wins a row starts from a fresh vector, which depends on the id, the table's name and the seed alone, with fresh
    optimizer state (torchrec itself resets no state on a CPU, and outside its sharded modules no vector either). In
    evaluation mode nothing changes. A loss over the whole catalogue shows every id in every batch, so that none is more
    frequent than another.

    Several processes that share rows (TorchrecLookup): the mapping is replicated, so `own_bytes` is what each process
    holds, and every process decides alike from the ids of all, which are gathered in two collectives a batch.

    Differs from torchrec: ids are never dropped when batches grow, time counts intervals instead of batches, and the
    ids waiting for a decision are saved, so that a resumed run goes on to the bit. torchrec's other algorithm,
    HashZchManagedCollisionModule, is not offered: it does not train on a CPU ("Expected readonly to be true").

    Shape:
        ids [N] -> embeddings [N, D]; memory num_rows rows of D and the mapping, 24 bytes a row, 32 with DistanceLFU;
        in training also the ids since the last decision, 8 bytes each.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V), V at most 2**62.
        embedding_dim: D.
        num_rows: rows, at least 2: the last is for all ids without one; or give one of:
        budget_bytes: bytes the matrix, in float32, and the mapping may take.
        budget_fraction: the same as a fraction of the full table's bytes.
        policy: which ids keep their rows; by default DistanceLFU.
        eviction_interval: training batches between decisions.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: unless exactly one size is given, if a number is out of range, or torchrec is not installed.
    """

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_rows: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        policy: EvictionPolicy | None = None,
        eviction_interval: int = 10,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.require("num_embeddings", num_embeddings, 1, 1 << 62)
        self.require("eviction_interval", eviction_interval, 1)
        if find_spec("torchrec") is None:
            raise ValueError(
                f"ManagedCollisionTable '{name}' needs torchrec and fbgemm; `recsys doctor` has the command, "
                "or use HashTable, which needs neither."
            )
        self.policy = policy or DistanceLFU()
        self.eviction_interval = eviction_interval
        self.init_std = init_std
        budget = size_or_budget(self, budget_bytes, budget_fraction, num_rows=num_rows)
        if budget is not None:
            num_rows = budget.largest(self._bytes_of, 2, min(num_embeddings + 1, 1 << 31))
        assert num_rows is not None
        self.require("num_rows", num_rows, 2, 1 << 31)
        self.num_rows = num_rows
        # torchrec's layout: slots in the order of their ids, open ones last; the last slot stays open, and its row is
        # the one that ids without a row read.
        self.register_buffer("slot_ids", torch.full((num_rows,), _OPEN_SLOT))
        self.register_buffer("slot_rows", torch.arange(num_rows))
        for counter in self.policy.counters:
            self.register_buffer(counter, torch.zeros(num_rows, dtype=torch.int64))
        self.register_buffer("num_intervals", torch.zeros(1, dtype=torch.int64))
        self.wait_for(eviction_interval)
        self.register_buffer("init_seed", torch.tensor([named_seed(name)]))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Refuse slots that are in no order: ids are searched for among them, and read beyond the last."""
        slots, rows = (state_dict.get(f"{prefix}{name}") for name in ("slot_ids", "slot_rows"))
        errors: list[str] = args[-1]
        for name, found, largest in (("slot_ids", slots, _OPEN_SLOT), ("slot_rows", rows, self.num_rows - 1)):
            if not isinstance(found, Tensor) or found.is_meta or found.shape != (self.num_rows,):
                continue  # said elsewhere
            ordered = found if name == "slot_ids" else found.sort().values
            if bool((ordered[1:] < ordered[:-1]).any()) or int(ordered[-1]) != largest or int(ordered[0]) < 0:
                errors.append(f"ManagedCollisionTable '{self.name}': {name} of the checkpoint is damaged.")
                state_dict[f"{prefix}{name}"] = self.get_buffer(name)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _bytes_of(self, num_rows: int) -> int:
        """Bytes of the matrix and the buffers."""
        return num_rows * (4 * self.embedding_dim + 8 * (2 + len(self.policy.counters))) + 3 * 8

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix."""
        return (PhysicalTable(self.name, self.num_rows, self.embedding_dim, self.init_std),)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The row that belongs to the id; the last row if none does."""
        ids = ids.long().contiguous()
        slots = lower_bound(self.get_buffer("slot_ids"), ids)
        belongs = self.get_buffer("slot_ids")[slots] == ids
        return torch.where(belongs, self.get_buffer("slot_rows")[slots], self.num_rows - 1)

    def decide(self, ids: Tensor, rows: Rows) -> None:
        """Give rows to those that won them; a row that changes hands starts afresh."""
        given = self._given(ids)
        ids_by_row = torch.empty_like(self.get_buffer("slot_ids"))
        ids_by_row[self.get_buffer("slot_rows")] = self.get_buffer("slot_ids")
        bound = math.sqrt(3) * self.init_std
        values = hashed_uniform(ids_by_row[given], self.get_buffer("init_seed"), self.embedding_dim)
        rows.reset_rows(self.name, given, bound * values)

    def _given(self, ids: Tensor) -> Tensor:
        """Let torchrec update the mapping after an interval with these ids; the rows [M] that went to other ids.

        torchrec's module keeps a history whose size it takes from the first batch, and which it does not save. Made
        anew from this table's buffers for every interval, and shown the interval as one batch, it has nothing to lose.
        """
        from torchrec.modules.mc_modules import MCHManagedCollisionModule
        from torchrec.sparse.jagged_tensor import JaggedTensor

        module = MCHManagedCollisionModule(
            zch_size=self.num_rows, device=ids.device, eviction_policy=self.policy.build(), eviction_interval=1
        )
        names = {
            "slot_ids": "_mch_sorted_raw_ids",
            "slot_rows": "_mch_remapped_ids_mapping",
            "num_intervals": "_current_iter_tensor",
            **{counter: f"_mch_{counter}" for counter in self.policy.counters},
        }
        module.load_state_dict(
            {**module.state_dict(), **{theirs: self.get_buffer(ours) for ours, theirs in names.items()}}
        )
        module.profile({self.name: JaggedTensor(ids, lengths=torch.tensor([len(ids)], device=ids.device))})
        for ours, theirs in names.items():
            self.get_buffer(ours).copy_(module.get_buffer(theirs))
        rows: Tensor = module.evict()
        return rows

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows and the same mapping."""
        return {
            "num_embeddings": num_embeddings,
            "num_rows": self.num_rows,
            "budget_bytes": None,
            "budget_fraction": None,
        }

    def expected_collisions(self) -> float:
        """Ids that can have no row of their own at a time."""
        return float(max(0, self.num_embeddings - (self.num_rows - 1)))
