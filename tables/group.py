"""Features whose tables are of one kind: routed by one set of tensor operations, combined by another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recsys.tables.base import Table
from recsys.tables.columns import alike, columns_of, laid_out
from recsys.tables.contract_checks import check_combined, check_routed
from recsys.tables.distinct import Distinct, distinct_ids, first_of_each
from recsys.tables.features import Feature
from recsys.tables.group_constants import GroupConstants
from recsys.tables.group_ids import Flat, Single
from recsys.tables.lookups.requests import Place, Request
from recsys.tables.routed import Reads


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
        names = [[physical.name for physical in table.physical_tables()] for table in tables]
        self._matrices_of = tuple(frozenset(of_lookup) for of_lookup in zip(*names, strict=True))
        """Of each lookup."""
        self.matrices = frozenset().union(*self._matrices_of)
        self._constants = GroupConstants(tables, [feature.name for feature in self.features])
        first_rows = torch.tensor([[place.first_row for place in each] for each in places], dtype=torch.int64)
        self.register_buffer("first_rows", first_rows, persistent=False)
        self.register_buffer("num_ids", torch.tensor([table.num_embeddings for table in tables]), persistent=False)
        self._parameter_names = tuple(name for name, _ in tables[0].named_parameters())
        self.penalises = type(tables[0]).penalty is not Table.penalty
        means = [feature.pooling == "mean" for feature in features]
        self._any_mean = any(means)
        # Bytes: AveragedModel subtracts buffers from each other, which booleans refuse.
        self.register_buffer("is_mean", torch.tensor(means, dtype=torch.uint8).view(-1, 1, 1), persistent=False)

    def __len__(self) -> int:
        return len(self._tables)

    @property
    def reads_rows(self) -> bool:
        """Whether its tables have rows at all."""
        return bool(self.stores)

    def parameters_of(self, positions: list[int] | None = None) -> dict[str, Tensor]:
        """The tables' parameters [G, ...] by name, or those of some of them."""
        tables = self._tables if positions is None else [self._tables[position] for position in positions]
        of_all = [dict(table.named_parameters()) for table in tables]
        return {name: torch.stack([each[name] for each in of_all]) for name in self._parameter_names}

    def flat_reads(self, flat: Flat) -> Reads:
        """The rows that ids one after the other, [N], read."""
        if not self.stores:
            return Reads()
        rows = self._flat_rows(flat)
        first_rows = self.get_buffer("first_rows")
        first = (first_rows if flat.features is None else first_rows.index_select(0, flat.features)).t()
        if self._tables[0].shares_rows and self.merges(flat.ids):
            return self._read_once(rows, first)
        return Reads([Request(rows.unsqueeze(0), first.unsqueeze(0), self.stores, self.matrices, self._sums)])

    def _flat_rows(self, flat: Flat) -> Tensor:
        """[K, N] of the matrices."""
        if self._tables[0].routes_by_state:
            by_table = zip(self._tables, flat.ids.split(flat.counts), strict=True)
            return torch.cat([table.rows_of(own) for table, own in by_table], dim=1)
        rows = self._tables[0].route(flat.ids.unsqueeze(0), self._constants.routing(flat.features))
        check_routed(self._tables[0], rows, len(self.stores), len(flat.ids))
        return rows.reshape(len(self.stores), len(flat.ids))

    def _read_once(self, rows: Tensor, first_rows: Tensor) -> Reads:
        """Rows [K, N], and where their matrices begin [K, N] or [K, 1]: each row once."""
        numbers = rows + first_rows
        requests, places = [], []
        for store, own, matrices in zip(self.stores, numbers, self._matrices_of, strict=True):
            first, place = first_of_each(own, int(own.max()) + 1 if len(own) else 0)
            # Counted from the first row of the store.
            asked = own.index_select(0, first).view(1, 1, -1)
            requests.append(Request(asked, torch.zeros(1, 1, 1, dtype=torch.int64), (store,), matrices))
            places.append(place)
        return Reads(requests, torch.stack(places))

    def merges(self, ids: Tensor) -> bool:
        """Whether ids that repeat are found out; a GPU would have to be waited for."""
        return self._tables[0].repeats_cost and ids.device.type == "cpu"

    def merged(self, ids: Tensor, features: Tensor | None) -> Distinct | None:
        """Ids [N] of features [N] without repeats; None where these cost less than to find them."""
        if not self.merges(ids):
            return None
        return distinct_ids(ids, features, self.get_buffer("num_ids"))

    def flat_vectors(self, found: Sequence[Tensor], reads: Reads, flat: Flat) -> tuple[Tensor, Tensor | None]:
        """Rows [N, 1, W] of ids one after the other, or what is read once -> [N, D], and the penalty of each, [N]."""
        pieces = [piece.squeeze(1) for piece in found]
        if reads.places is not None:
            return self._tables[0].combine_shared(pieces, reads.places), None
        (rows,) = pieces
        if not self._parameter_names:
            return self._combine(rows.unsqueeze(1), flat.ids.unsqueeze(1), self._constants.combining(flat.features), {})
        # One by one, a linear table is a product or two: less to do than to lay rows side by side, two by two.
        is_few = self._tables[0].linear and len(self) < 2 * len(alike(flat.counts))
        if rows.device.type == "cpu" and not is_few:
            return self._in_columns(rows, flat)
        by_feature = zip(rows.split(flat.counts), flat.ids.split(flat.counts), strict=True)
        vectors, penalties = [], []
        for position, (piece, ids) in enumerate(by_feature):
            constants, parameters = self._constants.of_features([position]), self.parameters_of([position])
            own, penalty = self._combine(piece.unsqueeze(1), ids.unsqueeze(1), constants, parameters)
            vectors.append(own)
            penalties += [] if penalty is None else [penalty]
        return torch.cat(vectors), torch.cat(penalties) if penalties else None

    def _in_columns(self, rows: Tensor, flat: Flat) -> tuple[Tensor, Tensor | None]:
        """The same for features with parameters, of those with about as many ids together."""
        parts, places = columns_of(flat.counts)
        positions = torch.cat([part.positions.flatten() for part in parts])
        # Split, since the gradient of a part that is picked by itself would be as large as that of all.
        sizes = [part.positions.numel() for part in parts]
        picked = laid_out(rows, positions, places).split(sizes)
        ids = flat.ids.index_select(0, positions).split(sizes)
        vectors, penalties = [], []
        for part, own_rows, own_ids in zip(parts, picked, ids, strict=True):
            shape = part.positions.shape
            constants, parameters = self._constants.of_features(part.features), self.parameters_of(part.features)
            own, penalty = self._combine(
                own_rows.view(*shape, rows.shape[1]), own_ids.view(shape), constants, parameters
            )
            vectors.append(own)
            penalties += [] if penalty is None else [penalty]
        found = torch.cat(vectors).index_select(0, places)
        return found, torch.cat(penalties).index_select(0, places) if penalties else None

    def _combine(
        self, rows: Tensor, ids: Tensor, constants: Mapping[str, Any], parameters: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Rows [N, G, W], ids [N, G] -> [N * G, D], and the penalty of each."""
        if self._sums:
            return rows.flatten(0, 1), None
        vectors = self._tables[0].combine(rows, parameters, ids, constants)
        check_combined(self._tables[0], vectors, ids.shape)
        penalty = self._tables[0].penalty(rows, vectors, parameters) if self.penalises else None
        return vectors.flatten(0, 1), None if penalty is None else penalty.flatten()


class SingleGroup(Group):
    """Features with one id per sample."""

    def taken_apart(self, ids: Tensor) -> Single:
        """Ids [G, B] of its features, and which of them are distinct."""
        features = None
        if self.merges(ids) and len(ids) > 1:
            features = torch.arange(len(ids)).repeat_interleave(ids.shape[1])
        return Single(ids, self.merged(ids.reshape(-1), features))

    def route(self, single: Single) -> Reads:
        """The rows that ids [G, B] read."""
        if single.distinct is not None:
            return self.flat_reads(single.distinct)
        if not self.stores:
            return Reads()
        ids = single.ids
        if self._tables[0].routes_by_state:
            rows = torch.stack([table.rows_of(own) for table, own in zip(self._tables, ids, strict=True)])
        else:
            rows = self._tables[0].route(ids.unsqueeze(1), self._constants.routing(None))
            check_routed(self._tables[0], rows, len(self.stores), ids.shape[1])
        first_rows = self.get_buffer("first_rows").unsqueeze(-1)
        return Reads([Request(rows, first_rows, self.stores, self.matrices, self._sums)])

    def combine(self, found: Sequence[Tensor], reads: Reads, single: Single) -> tuple[Tensor, Tensor | None]:
        """Rows [B, G, W] of ids [G, B], or [M, 1, W] of distinct ones -> vectors [B, G, D], and their penalty."""
        ids, table = single.ids, self._tables[0]
        if single.distinct is not None:
            vectors, penalty = self.flat_vectors(found, reads, single.distinct)
            spread = single.distinct.spread(vectors).view(*ids.shape, table.embedding_dim).transpose(0, 1)
            return spread, total_penalty(penalty, single.distinct)
        (rows,) = found
        if self._sums:
            return rows, None
        parameters = self.parameters_of()
        vectors = table.combine(rows, parameters, ids.t(), self._constants.combining())
        check_combined(table, vectors, (ids.shape[1], ids.shape[0]))
        return vectors, total_penalty(table.penalty(rows, vectors, parameters) if self.penalises else None)


def total_penalty(penalty: Tensor | None, distinct: Distinct | None = None) -> Tensor | None:
    """The sum of the penalties of ids, each as often as it was given."""
    if penalty is None or distinct is None:
        return None if penalty is None else penalty.sum()
    return (penalty * distinct.num_repeats()).sum()
