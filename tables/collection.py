"""All embedding tables of a model behind one fused lookup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import torch
from torch import Tensor, nn

from recsys.tables.base import Table, unique_physical_tables
from recsys.tables.dynamic import DynamicTable, check_dynamic_tables
from recsys.tables.features import Bag, Feature, pool
from recsys.tables.lookups.base import LookupFactory, Slots
from recsys.tables.lookups.optimizers import Frozen, RowWiseAdagrad, TableOptimizer
from recsys.tables.lookups.started import StartedBatch
from recsys.tables.lookups.torch import TorchLookup


class NamedModules(nn.Module):
    """Modules by any name without a dot, in the given order; a feature may be called 'items' or 'type'."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._modules.update(modules)


class Group(nn.Module):
    """Features whose tables are of one kind: routed by one set of tensor operations, combined by another.

    Shape letters: G features of the group, K lookups per id, W width of an id's rows side by side.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        super().__init__()
        self._tables = tuple(tables)
        self.num_lookups = len(tables[0].row_dims)
        self.width = sum(tables[0].row_dims)
        self.slots: Slots = tuple(physical.name for table in tables for physical in table.physical_tables())
        for name in tables[0].constants():
            stacked = torch.stack([table.constants()[name] for table in tables]).unsqueeze(-1)
            self.register_buffer(name, stacked, persistent=False)
        self._constant_names = tuple(tables[0].constants())
        self._parameter_names = tuple(name for name, _ in tables[0].named_parameters())

    def __len__(self) -> int:
        return len(self._tables)

    def route(self, ids: Tensor) -> Tensor:
        """Ids [G, N] -> rows [G * K, N]."""
        constants = {name: self.get_buffer(name) for name in self._constant_names}
        return self._tables[0].route(ids.unsqueeze(1), constants).reshape(len(self.slots), -1)

    def route_bags(self, bags: Sequence[Bag]) -> list[Tensor]:
        """Rows [K, N_g] of each feature's ids, routed together: every id carries its feature's constants."""
        counts = [bag.values.numel() for bag in bags]
        values = torch.cat([bag.values for bag in bags])
        per_feature = torch.tensor(counts, device=values.device)
        constants = {
            name: self.get_buffer(name).squeeze(-1).repeat_interleave(per_feature, 0, output_size=len(values)).t()
            for name in self._constant_names
        }
        rows = self._tables[0].route(values.unsqueeze(0), constants)
        return list(rows.split(counts, dim=1))

    def combine(self, rows: Tensor) -> Tensor:
        """Rows [N, G * W] -> vectors [N, G, D]."""
        parameters = {
            name: torch.stack([table.get_parameter(name) for table in self._tables]) for name in self._parameter_names
        }
        return self._tables[0].combine(rows.view(-1, len(self), self.width), parameters)

    def combine_one(self, position: int, rows: Tensor) -> Tensor:
        """Rows [N, W] of one feature -> vectors [N, D]."""
        table = self._tables[position]
        parameters = {name: table.get_parameter(name).unsqueeze(0) for name in self._parameter_names}
        return table.combine(rows.unsqueeze(1), parameters).squeeze(1)


class TableCollection(nn.Module):
    """Embeds every feature of a batch: route, one fused lookup, combine, pool.

    Table gradients are applied in the backward pass, to the rows a batch has touched; a module that holds a collection
    gives `parameters()` without them to its own optimizer.

    In training mode every forward pass is one batch to a DynamicTable; frozen rows stay with their ids.

    Shape:
        ids [F1, B] of the single-valued features in their order, one Bag of values [N], lengths [B] for each
        multi-valued feature -> [B, F, D]

    Args:
        features: the input columns; those with a pooling are multi-valued.
        tables: the tables they name. Features that name one table share its rows; a table whose size depends on those
            it shares a matrix with is made anew.
        optimizer: for all matrices, or by table name.
        lookup: where the matrices live and how they are read: TorchLookup, FbgemmLookup or TorchrecLookup.
        dtype: of the rows.
        device: where the rows live.

    Raises:
        ValueError: on an unknown or unused table, a feature given twice, unequal widths, or matrices that share a name
            and differ; see also `check_dynamic_tables`.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        tables: Mapping[str, Table],
        *,
        optimizer: TableOptimizer | Mapping[str, TableOptimizer] | None = None,
        lookup: LookupFactory = TorchLookup,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        _check_features(features, tables)
        tables = {name: table.sized_among(list(tables.values())) for name, table in tables.items()}
        self.features = tuple(features)
        self.embedding_dim = next(iter(tables.values())).embedding_dim
        self.tables = NamedModules(tables)
        self._single = self._make_groups(tables, [f for f in features if f.pooling is None])
        self._multi = self._make_groups(tables, [f for f in features if f.pooling is not None])
        self.groups = nn.ModuleList([group for group, _ in (*self._single, *self._multi)])
        requests: list[Slots] = [group.slots for group, _ in self._single]
        for group, members in self._multi:
            width = group.num_lookups
            requests += [group.slots[i * width : (i + 1) * width] for i in range(len(members))]
        matrices = unique_physical_tables(list(tables.values()))
        optimizers = _optimizers_by_matrix(tables, optimizer)
        check_dynamic_tables(tables, optimizers)
        self.lookup = lookup(matrices, requests, optimizers, dtype, device)
        self._dynamic = [
            (table, [feature for feature in features if feature.table == name])
            for name, table in tables.items()
            if isinstance(table, DynamicTable) and not isinstance(optimizers[table.matrix], Frozen)
        ]
        self._arrangement = self._arrange()
        self.to(device)

    def _make_groups(
        self, tables: Mapping[str, Table], features: Sequence[Feature]
    ) -> list[tuple[Group, list[Feature]]]:
        members: dict[tuple[object, ...], list[Feature]] = {}
        for feature in features:
            members.setdefault(tables[feature.table].signature(), []).append(feature)
        return [(Group([tables[f.table] for f in found]), found) for found in members.values()]

    def _arrange(self) -> _Arrangement:
        single = [feature.name for feature in self.features if feature.pooling is None]
        ids_order = [[single.index(feature.name) for feature in members] for _, members in self._single]
        produced = [feature.name for _, members in (*self._single, *self._multi) for feature in members]
        sizes = [len(members) for _, members in self._single] + [1] * sum(len(members) for _, members in self._multi)
        return _Arrangement(ids_order, len(single), sizes, [produced.index(f.name) for f in self.features])

    def forward(
        self, ids: Tensor, bags: Mapping[str, Bag] | None = None, started: StartedBatch | None = None
    ) -> Tensor:
        """Embed a batch; see the class for shapes.

        Args:
            ids: of single-valued features.
            bags: of multi-valued features.
            started: what `start` gave for this batch; passed over if its ids were changed since.

        Raises:
            ValueError: if `ids` has another number of features, or a bag is missing.
        """
        bags = bags or {}
        self._check_inputs(ids, bags)
        if started is not None and started.is_of(_tensors(ids, bags)):
            found = iter(self.lookup(started.rows, started.lookup))
        else:
            if self._dynamic:
                self._observe(ids, bags)
            found = iter(self.lookup(self._route(ids, bags)))
        vectors = [group.combine(next(found)) for group, _ in self._single]
        for group, members in self._multi:
            for position, feature in enumerate(members):
                bag = bags[feature.name]
                assert feature.pooling is not None
                pooled = pool(group.combine_one(position, next(found)), bag.lengths, feature.pooling)
                vectors.append(pooled.unsqueeze(1))
        return self._arrangement.in_feature_order(vectors)

    @torch.no_grad()
    def start(self, ids: Tensor, bags: Mapping[str, Bag] | None = None) -> StartedBatch | None:
        """Begin the lookups of a coming batch, so that its ids travel while another batch is computed.

        The rows are read in `forward`, as they are then. None if the tables must first see the batches before, as a
        DynamicTable in training mode does.
        """
        if any(table.training for table, _ in self._dynamic):
            return None
        rows = self._route(ids, bags or {})
        return StartedBatch(_tensors(ids, bags or {}), rows, self.lookup.start(rows))

    def _route(self, ids: Tensor, bags: Mapping[str, Bag]) -> list[Tensor]:
        """The rows [S, N] of every request."""
        rows = [
            group.route(picked)
            for (group, _), picked in zip(self._single, self._arrangement.pick_ids(ids), strict=True)
        ]
        for group, members in self._multi:
            rows += group.route_bags([bags[feature.name] for feature in members])
        return rows

    @torch.no_grad()
    def _observe(self, ids: Tensor, bags: Mapping[str, Bag]) -> None:
        """Show dynamic tables in training mode their ids of this batch, and start afresh the rows they give away."""
        observing = [(table, features) for table, features in self._dynamic if table.training]
        if not observing:
            return
        columns = dict(zip((f.name for f in self.features if f.pooling is None), ids, strict=True))
        columns |= {name: bag.values for name, bag in bags.items()}
        seen = [torch.cat([columns[feature.name] for feature in features]).long() for _, features in observing]
        for (table, _), of_all in zip(observing, self.lookup.of_all_processes(seen), strict=True):
            fresh = table.observe(of_all)
            if fresh is not None:
                self.lookup.reset_rows(table.matrix, fresh.rows, fresh.values)

    def _check_inputs(self, ids: Tensor, bags: Mapping[str, Bag]) -> None:
        if ids.dim() != 2 or ids.shape[0] != self._arrangement.num_single:
            raise ValueError(
                f"ids must be [F1={self._arrangement.num_single}, B], one row per single-valued feature, "
                f"got {list(ids.shape)}."
            )
        missing = [f.name for f in self.features if f.pooling is not None and f.name not in bags]
        if missing:
            raise ValueError(f"bags lack the multi-valued features {missing}; given: {sorted(bags)}.")

    def table(self, name: str) -> Table:
        """The table of a name."""
        found = self.tables.get_submodule(name)
        assert isinstance(found, Table)
        return found

    def param_groups(self) -> list[dict[str, object]]:
        """Parameters for a dense optimizer: those of the tables, and rows with dense gradients with their settings."""
        groups: list[dict[str, object]] = []
        methods = [parameter for parameter in self.tables.parameters() if parameter.requires_grad]
        if methods:
            groups.append({"params": methods})
        return [*groups, *self.lookup.param_groups()]

    def regularizer(self) -> Tensor | None:
        """Sum of the tables' penalties, or None where no table has one."""
        tables = (self.table(name) for name in dict.fromkeys(feature.table for feature in self.features))
        penalties = [penalty for table in tables if (penalty := table.regularizer()) is not None]
        return torch.stack(penalties).sum() if penalties else None


class _Arrangement:
    """The order of features on the way in and on the way out; identity orders cost nothing.

    Args:
        ids_order: rows of the ids that each group takes.
        num_single: rows that ids must have.
        sizes: features in each piece of output, in the order produced.
        positions: for every feature, where it stands in that order.
    """

    def __init__(self, ids_order: list[list[int]], num_single: int, sizes: list[int], positions: list[int]) -> None:
        self.num_single = num_single
        self._ids_order = ids_order
        self._sizes = sizes
        self._identity = positions == list(range(len(positions)))
        self._runs = _runs(positions, sizes)

    def pick_ids(self, ids: Tensor) -> list[Tensor]:
        """The rows of ids [F1, B] of each group [G, B]."""
        if len(self._ids_order) == 1:
            return [ids]
        return [
            ids[order[0] : order[-1] + 1] if order == list(range(order[0], order[-1] + 1)) else ids[order]
            for order in self._ids_order
        ]

    def in_feature_order(self, vectors: list[Tensor]) -> Tensor:
        """Pieces [B, G, D] in the order produced -> [B, F, D] in the order of features."""
        if self._identity:
            return vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=1)
        pieces: dict[int, Tensor] = {}
        start = 0
        for vector, size in zip(vectors, self._sizes, strict=True):
            own = [run for run in self._runs if start <= run[0] < start + size]
            own.sort()
            for run, piece in zip(own, vector.split([length for _, length in own], dim=1), strict=True):
                pieces[run[0]] = piece
            start += size
        return torch.cat([pieces[first] for first, _ in self._runs], dim=1)


def _tensors(ids: Tensor, bags: Mapping[str, Bag]) -> list[Tensor]:
    return [ids, *(tensor for bag in bags.values() for tensor in (bag.values, bag.lengths))]


def _runs(positions: list[int], sizes: list[int]) -> list[tuple[int, int]]:
    """Maximal stretches of neighbours, as (first produced position, length), in feature order; none crosses a piece."""
    piece_starts = {sum(sizes[:i]) for i in range(len(sizes))}
    runs: list[tuple[int, int]] = []
    for position in positions:
        if runs and position == runs[-1][0] + runs[-1][1] and position not in piece_starts:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((position, 1))
    return runs


def _check_features(features: Sequence[Feature], tables: Mapping[str, Table]) -> None:
    if not features:
        raise ValueError("features must not be empty.")
    names = [feature.name for feature in features]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"features {twice} are given more than once.")
    for feature in features:
        if feature.table not in tables:
            close = get_close_matches(feature.table, tables, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise ValueError(
                f"feature '{feature.name}' uses table '{feature.table}', which is not in tables{hint} "
                f"(tables: {', '.join(tables)})"
            )
    unused = sorted(set(tables) - {feature.table for feature in features})
    if unused:
        raise ValueError(f"tables {unused} are used by no feature.")
    dims = {name: table.embedding_dim for name, table in tables.items()}
    if len(set(dims.values())) > 1:
        raise ValueError(f"all tables must have one embedding_dim, got {dims}.")


def _optimizers_by_matrix(
    tables: Mapping[str, Table], optimizer: TableOptimizer | Mapping[str, TableOptimizer] | None
) -> dict[str, TableOptimizer]:
    chosen: dict[str, TableOptimizer] = {}
    for name, table in tables.items():
        own = optimizer.get(name, RowWiseAdagrad()) if isinstance(optimizer, Mapping) else optimizer or RowWiseAdagrad()
        for physical in table.physical_tables():
            if chosen.setdefault(physical.name, own) != own:
                raise ValueError(
                    f"table '{name}' shares physical table '{physical.name}' with another table but has another "
                    f"optimizer: {own} and {chosen[physical.name]}."
                )
    return chosen
