"""Features whose tables are of one kind: routed by one set of tensor operations, combined by another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from recsys.tables.base import Table
from recsys.tables.checks import check_ids, check_lengths
from recsys.tables.derived import Unchanging
from recsys.tables.distinct import Distinct, distinct_ids
from recsys.tables.features import Bag, Feature, concatenate_bags, pad_sequences, pool
from recsys.tables.group_ids import Flat, Ragged, Single
from recsys.tables.lookups.requests import Place, Request
from recsys.tables.per_id import PerId, PerIdColumns


class Group(nn.Module):
    """Tables with one signature, whose K lookups read the same stores.

    Shape letters: G features of the group, K lookups per id, W width of an id's rows side by side, or of their sum.

    Args:
        features: the features of the group; several may have one table.
        tables: of each feature.
        places: of each feature's K matrices, where its rows are.
    """

    def __init__(self, features: Sequence[Feature], tables: Sequence[Table], places: Sequence[Sequence[Place]]) -> None:
        super().__init__()
        self.features = tuple(features)
        self._tables = tuple(tables)
        self.stores = tuple(place.store for place in places[0])
        self._sums = tables[0].sums and len(set(self.stores)) == 1
        """Whether rows come added up, as the vectors they are."""
        self.matrices = frozenset(physical.name for table in tables for physical in table.physical_tables())
        constants, self._per_id = _routing_constants_of(tables)
        self._constant_names = tuple(constants)
        for name, stacked in constants.items():
            self.register_buffer(name, stacked, persistent=False)
        values = {name: stacked.tolist() for name, stacked in constants.items() if not stacked.is_meta}
        self._unchanging = Unchanging(f"the tables of {[feature.name for feature in self.features]}", values)
        for name, columns in self._per_id.items():
            self.register_buffer(f"first_{name}", columns.first, persistent=False)
        first_rows = torch.tensor([[place.first_row for place in each] for each in places], dtype=torch.int64)
        self.register_buffer("first_rows", first_rows, persistent=False)
        self.register_buffer("num_ids", torch.tensor([table.num_embeddings for table in tables]), persistent=False)
        self._parameter_names = tuple(name for name, _ in tables[0].named_parameters())
        self.penalises = type(tables[0]).penalty is not Table.penalty
        # A penalty is of all that was read; parameters meet the ids of all features in one product.
        self._merges = tables[0].repeats_cost and not self.penalises and not self._parameter_names
        means = [feature.pooling == "mean" for feature in features]
        self._any_mean = any(means)
        self.register_buffer("is_mean", torch.tensor(means).view(-1, 1, 1), persistent=False)

    def __len__(self) -> int:
        return len(self._tables)

    @property
    def reads_rows(self) -> bool:
        """Whether its tables have rows at all."""
        return bool(self.stores)

    def constants(self, of: Tensor | None = None) -> dict[str, Any]:
        """What `combine` is given: integers [G, K], or [N, 1, K] of the features [N] that ids belong to."""

        def pick(name: str) -> Tensor:
            values = self.get_buffer(name)
            return values if of is None else values.index_select(0, of).unsqueeze(1)

        per_id = {name: PerId(columns.joined(), pick(f"first_{name}")) for name, columns in self._per_id.items()}
        return {**{name: pick(name) for name in self._constant_names}, **per_id}

    def _routing_constants(self, of: Tensor | None) -> dict[str, Any]:
        """What `route` is given: integers [G, K, 1], or [K, N] of the features [N] that ids belong to."""
        self._unchanging.check(self)

        def pick(name: str) -> Tensor:
            values = self.get_buffer(name)
            return values.unsqueeze(-1) if of is None else values.index_select(0, of).t()

        per_id = {name: PerId(columns.joined(), pick(f"first_{name}")) for name, columns in self._per_id.items()}
        return {**{name: pick(name) for name in self._constant_names}, **per_id}

    def parameters_of(self, position: int | None = None) -> dict[str, Tensor]:
        """The tables' parameters [G, ...] by name, or those of one of them [1, ...]."""
        tables = self._tables if position is None else self._tables[position : position + 1]
        return {name: torch.stack([table.get_parameter(name) for table in tables]) for name in self._parameter_names}

    def flat_request(self, flat: Flat) -> Request:
        """The rows that ids one after the other, [N], read."""
        rows = self._tables[0].route(flat.ids.unsqueeze(0), self._routing_constants(flat.features))
        first_rows = self.get_buffer("first_rows")
        first = first_rows if flat.features is None else first_rows.index_select(0, flat.features)
        rows, first = rows.reshape(1, len(self.stores), len(flat.ids)), first.t().unsqueeze(0)
        return Request(rows, first, self.stores, self.matrices, self._sums)

    def merges(self, ids: Tensor) -> bool:
        """Whether ids that repeat are found out; a GPU would have to be waited for."""
        return self._merges and ids.device.type == "cpu"

    def merged(self, ids: Tensor, features: Tensor | None) -> Distinct | None:
        """Ids [N] of features [N] without repeats; None where these cost less than to find them."""
        if not self.merges(ids):
            return None
        return distinct_ids(ids, features, self.get_buffer("num_ids"))

    def flat_vectors(self, rows: Tensor, flat: Flat) -> tuple[Tensor, Tensor | None]:
        """Rows [N, 1, W] of ids one after the other -> [N, D], and a penalty."""
        rows = rows.squeeze(1)
        if not self._parameter_names:
            return self._combine(rows, flat.ids, self.constants(flat.features), {})
        pieces = zip(rows.split(flat.counts), flat.ids.split(flat.counts), strict=True)
        vectors, penalties = [], []
        for position, (piece, ids) in enumerate(pieces):
            constants = self._constants_of(position)
            found, penalty = self._combine(piece, ids, constants, self.parameters_of(position))
            vectors.append(found)
            penalties += [] if penalty is None else [penalty]
        return torch.cat(vectors), torch.stack(penalties).sum() if penalties else None

    def _combine(
        self, rows: Tensor, ids: Tensor, constants: Mapping[str, Any], parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        if self._sums:
            return rows, None
        table, rows = self._tables[0], rows.unsqueeze(1)
        vectors = table.combine(rows, parameters, ids.unsqueeze(1), constants)
        penalty = table.penalty(rows, vectors, parameters) if self.penalises else None
        return vectors.squeeze(1), penalty

    def _constants_of(self, position: int) -> dict[str, Any]:
        one = slice(position, position + 1)
        per_id = {
            name: PerId(columns.joined(), self.get_buffer(f"first_{name}")[one])
            for name, columns in self._per_id.items()
        }
        return {**{name: self.get_buffer(name)[one] for name in self._constant_names}, **per_id}


class SingleGroup(Group):
    """Features with one id per sample."""

    def taken_apart(self, ids: Tensor) -> Single:
        """Ids [G, B] of its features, and which of them are distinct."""
        features = None
        if self.merges(ids) and len(ids) > 1:
            features = torch.arange(len(ids)).repeat_interleave(ids.shape[1])
        return Single(ids, self.merged(ids.reshape(-1), features))

    def route(self, single: Single) -> Request:
        """The rows that ids [G, B] read."""
        if single.distinct is not None:
            return self.flat_request(single.distinct)
        ids = single.ids
        rows = self._tables[0].route(ids.unsqueeze(1), self._routing_constants(None))
        return Request(rows, self.get_buffer("first_rows").unsqueeze(-1), self.stores, self.matrices, self._sums)

    def combine(self, rows: Tensor, single: Single) -> tuple[Tensor, Tensor | None]:
        """Rows [B, G, W] of ids [G, B], or [M, 1, W] of distinct ones -> vectors [B, G, D], and a penalty."""
        ids, table = single.ids, self._tables[0]
        if single.distinct is not None:
            vectors, _ = self.flat_vectors(rows, single.distinct)
            return single.distinct.spread(vectors).view(*ids.shape, table.embedding_dim).transpose(0, 1), None
        if self._sums:
            return rows, None
        parameters = self.parameters_of()
        vectors = table.combine(rows, parameters, ids.t(), self.constants())
        return vectors, table.penalty(rows, vectors, parameters) if self.penalises else None


class BagGroup(Group):
    """Multi-valued features, all pooled or all left as sequences; the number of operations is that of one feature.

    Except where a table has parameters and is not linear: its features are combined one after the other.
    """

    def taken_apart(self, bags: Mapping[str, Bag]) -> Ragged:
        """The ids of its features, checked."""
        own, names = [bags[feature.name] for feature in self.features], [feature.name for feature in self.features]
        joined = own[0] if len(own) == 1 else concatenate_bags(_all_weighted_or_none(own))
        counts = [bag.values.numel() for bag in own]
        check_lengths(joined.lengths, counts, names)
        ragged = Ragged(joined, counts)
        check_ids(ragged.ids, self.get_buffer("num_ids"), names, ragged.features)
        ragged.distinct = self.merged(ragged.ids, ragged.features)
        return ragged

    def route(self, ragged: Ragged) -> Request:
        """The rows that all ids [N] read."""
        return self.flat_request(ragged.distinct or ragged)

    def embed(self, rows: Tensor, ragged: Ragged) -> tuple[list[Tensor], Tensor | None]:
        """Rows [N, 1, W] -> pooled vectors [B, G, D], or each feature's sequence [N_g, D]; and a penalty."""
        if self._pools_first:
            pooled = self._pool(rows.squeeze(1), ragged)
            return [self._tables[0].combine(pooled, self.parameters_of(), self._no_ids(pooled), self.constants())], None
        vectors, penalty = self.flat_vectors(rows, ragged.distinct or ragged)
        vectors = vectors if ragged.distinct is None else ragged.distinct.spread(vectors)
        if self.is_sequence:
            return list(vectors.split(ragged.counts)), penalty
        return [self._pool(vectors, ragged)], penalty

    @property
    def is_sequence(self) -> bool:
        """Whether its features are left un-pooled."""
        return self.features[0].pooling == "sequence"

    def sequences(self, pieces: Sequence[Tensor], ragged: Ragged) -> dict[str, tuple[Tensor, Tensor]]:
        """Vectors [N_g, D] of each feature -> [B, L, D] and a mask [B, L], by name."""
        lengths = ragged.lengths.view(len(self), -1)
        samples = ragged.samples.split(ragged.counts)
        return {
            feature.name: pad_sequences(piece, own - g * ragged.num_samples, lengths[g], feature.max_length)
            for g, (feature, piece, own) in enumerate(zip(self.features, pieces, samples, strict=True))
        }

    @property
    def _pools_first(self) -> bool:
        """A linear table's parameters meet one row per sample instead of one per id."""
        return not self.is_sequence and bool(self._parameter_names) and self._tables[0].linear and not self.penalises

    @staticmethod
    def _no_ids(pooled: Tensor) -> Tensor:
        """A linear table depends on no id."""
        return torch.zeros(pooled.shape[:2], dtype=torch.int64, device=pooled.device)

    def _pool(self, vectors: Tensor, ragged: Ragged) -> Tensor:
        """[N, D] -> [B, G, D]."""
        if ragged.weights is not None:
            vectors = vectors * ragged.weights.unsqueeze(1).to(vectors.dtype)
        pooled = pool(vectors, ragged.samples, len(ragged.lengths)).view(
            len(self), ragged.num_samples, vectors.shape[1]
        )
        if self._any_mean:
            divisors = ragged.lengths.clamp(min=1).view(len(self), ragged.num_samples, 1).to(pooled.dtype)
            pooled = pooled / torch.where(self.get_buffer("is_mean"), divisors, 1.0)
        return pooled.transpose(0, 1)


def _all_weighted_or_none(bags: Sequence[Bag]) -> Sequence[Bag]:
    """Bags without weights beside others with weights get ones."""
    if all(bag.weights is None for bag in bags):
        return bags
    return [
        bag if bag.weights is not None else replace(bag, weights=torch.ones(len(bag.values), device=bag.values.device))
        for bag in bags
    ]


def _routing_constants_of(tables: Sequence[Table]) -> tuple[dict[str, Tensor], dict[str, PerIdColumns]]:
    """The integers [G, K] of some tables of one kind, and what they keep of every id."""
    stacked = {name: torch.stack([table.constants()[name] for table in tables]) for name in tables[0].constants()}
    return stacked, {name: PerIdColumns(tables, name) for name in tables[0].per_id_names}
