"""Several tables for one feature, weighted by how frequent an id is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recsys.tables.base import DEFAULT_INIT_STD, Constants
from recsys.tables.combined import CombinedTable, PartFactory
from recsys.tables.item_counts import check_integers, counts_of_ids
from recsys.tables.routing.hashes import mix64


class GateTable(CombinedTable):
    """The parts' vectors, each weighted by what is learned for ids of like frequency.

    Source: the gate by frequency of SID-Coord (arXiv:2604.10471), as weights of a softmax for each power of two of an
    id's count; the attention over levels of that paper is not here.

    Shape:
        ids [N] -> embeddings [N, D]; memory that of the parts, a weight for each part and group, and a byte an id.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        tables: makes each part.
        counts: the Parquet file (id, count) of how often each id is in the training data, counts/NAME.parquet; or [V].
            Ids of count 0 are a group of their own. By default ids are taken to be numbered by falling count.
        unseen: the place of the part that ids of count 0 read alone; by default they have a gate as others have.
        init_std: standard deviation of the initial vectors; weights begin equal.
        groups: [V] the group of each id, instead of counts.

    Raises:
        ValueError: with fewer than two parts, one whose state changes outside its rows, or counts that do not fit.
    """

    linear = False
    sizes = CombinedTable.sizes | {"counts", "groups"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        tables: Sequence[PartFactory],
        counts: str | Tensor | None = None,
        unseen: int | None = None,
        init_std: float = DEFAULT_INIT_STD,
        groups: Tensor | None = None,
    ) -> None:
        number = max(1, len(tables))
        dims, stds = [embedding_dim] * len(tables), [init_std / math.sqrt(number)] * len(tables)
        super().__init__(name, num_embeddings, embedding_dim, tables, dims, stds)
        self.linear = False  # type: ignore[misc]
        self._check_unseen(counts, unseen, groups)
        self.unseen = unseen
        if groups is None:
            with torch.device("cpu"):
                groups = self._groups(counts)
        check_integers(f"GateTable '{name}'", "groups", groups, most=63)
        self.register_per_id(groups=groups.to(torch.uint8))
        self.arguments |= {"counts": None, "groups": self.get_buffer("groups")}
        self.gate = nn.Parameter(torch.zeros(64, number))

    def reads_as(self) -> str:
        """As its parts, and by the part that unseen ids read alone."""
        parts = super().reads_as() or "parts"
        return f"{parts} with {'a gate for all ids' if self.unseen is None else f'unseen={self.unseen}'}"

    def likeness(self) -> Tensor | None:
        """Ids are alike that are so in every part and in one group."""
        found = super().likeness()
        return None if found is None else mix64(found, 1) + self.get_buffer("groups").cpu().long()

    def _check_unseen(self, counts: str | Tensor | None, unseen: int | None, groups: Tensor | None) -> None:
        if unseen is None:
            return
        self.require("unseen", unseen, 0, len(self._parts) - 1)
        if counts is None and groups is None:
            raise ValueError(f"GateTable '{self.name}': unseen needs counts, which say what ids are never seen.")

    def _groups(self, counts: str | Tensor | None) -> Tensor:
        """0 for a count of 0, else the number of its binary digits; without counts 63 less those of the id and one."""
        powers = 1 << torch.arange(63)
        if counts is None:
            return 63 - torch.bucketize(torch.arange(self.num_embeddings) + 1, powers, right=True)
        known = counts_of_ids(f"GateTable '{self.name}'", counts, self.num_embeddings)
        return torch.bucketize(known, powers, right=True)

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """As SumTable, with equal weights; an unseen id counts with its one part alone."""
        self.gate.zero_()
        scales = [torch.ones(len(ids)) for _ in self._parts]
        if self.unseen is not None:
            never = self.get_buffer("groups")[ids] == 0
            for place, scale in enumerate(scales):
                scale[never] = math.sqrt(len(scales)) if place == self.unseen else 0.0
        self.fit_sum(scales, vectors, ids, rows)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """Parts that have grown; new ids are in the group of those that were never seen."""
        groups = self.get_buffer("groups")
        more = torch.cat([groups, groups.new_zeros(num_embeddings - self.num_embeddings)])
        return {**super().grown_arguments(num_embeddings), "groups": more}

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """Their weighted sum: weights [N, G, parts] add up to the number of parts."""
        vectors = torch.stack(self.part_vectors(rows, parameters, ids, constants), dim=-2)
        groups = constants["groups"](ids.unsqueeze(-1)).squeeze(-1).long()
        gates = parameters["gate"]
        tables = torch.arange(gates.shape[0], device=ids.device)
        number = gates.shape[-1]
        weights = torch.softmax(gates[tables, groups].to(vectors.dtype), dim=-1) * number
        if self.unseen is not None:
            alone = torch.zeros(number, dtype=vectors.dtype, device=vectors.device)
            alone[self.unseen] = math.sqrt(number)
            weights = torch.where((groups == 0).unsqueeze(-1), alone, weights)
        return (vectors * weights.unsqueeze(-1)).sum(-2)
