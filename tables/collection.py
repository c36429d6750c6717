"""All embedding tables of a model behind one fused lookup."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.tables.arrangement import Arrangement
from recsys.tables.bag_group import BagGroup
from recsys.tables.base import Table
from recsys.tables.checks import (
    check_features,
    check_lookup,
    check_moved_rows,
    check_num_samples,
    check_observed,
    check_values,
    optimizers_by_matrix,
)
from recsys.tables.features import Bag, Embedded, Feature
from recsys.tables.group import SingleGroup
from recsys.tables.group_ids import Ragged, Single
from recsys.tables.input_checks import check_bags, check_ids, check_layout
from recsys.tables.lookups.base import LookupFactory
from recsys.tables.lookups.optimizers import Frozen, TableOptimizer
from recsys.tables.lookups.requests import Place
from recsys.tables.lookups.started import StartedLookup
from recsys.tables.lookups.torch import TorchLookup
from recsys.tables.named_modules import NamedModules
from recsys.tables.numbers import check_number
from recsys.tables.placement import checked_device, widened
from recsys.tables.routed import Routed, StartedBatch, still_of, tensors_of
from recsys.tables.storages import unique_physical_tables
from recsys.tables.traced import call_of, is_traced
from recsys.tables.transforms import is_computed_again
from recsys.tables.unaveraged import Unaveraged


class TableCollection(nn.Module):
    """Embeds every feature of a batch: route, one fused lookup, combine, pool.

    Rows are no parameters, but what stands for them is: they step with the optimizer that is given `parameters()` or
    `param_groups()`, once a step, only those that were read since, by their own `optimizer` and rate; see
    recsys.tables.lookups.gradients for what that heeds. Without an optimizer `step()` steps them.
    `requires_grad_(False)` and `eval()` freeze them.

    In training mode every forward pass is one batch to a table that takes note of ids; frozen rows stay with theirs.

    Shape:
        ids [F1, B] of the single-valued features in their order, one Bag of values [N], lengths [B] for each
        multi-valued feature -> [B, F, D]; with sequences, Embedded

    Args:
        features: the input columns; those with a pooling are multi-valued.
        tables: the tables they name. Features that name one table share its rows; a table whose size depends on those
            it shares a matrix with is made anew.
        optimizer: for all matrices, or by table name; tables that it does not name get RowWiseAdagrad.
        lookup: where the matrices live and how they are read: TorchLookup, NumbaLookup, FbgemmLookup or TorchrecLookup.
        dtype: of the rows.
        device: where the rows live.
        clip_rows: gradient clipping by norm counts the rows' gradients; otherwise the norm is that of the parameters
            alone, and rows are scaled by the same factor.

    Raises:
        ValueError: on an unknown or unused table, an optimizer for a table that does not exist, a feature given twice,
            unequal widths, or matrices that share a name and differ.
    """

    @typed
    def __init__(
        self,
        features: Sequence[Feature],
        tables: Mapping[str, Table],
        *,
        optimizer: TableOptimizer | Mapping[str, TableOptimizer] | None = None,
        lookup: LookupFactory = TorchLookup,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | int = "cpu",
        clip_rows: bool = False,
    ) -> None:
        super().__init__()
        check_features(features, tables)
        check_values(tables, dtype, lookup)
        device = checked_device("TableCollection", device)
        tables = {name: table.sized_among(list(tables.values())) for name, table in tables.items()}
        self.features = tuple(features)
        self.embedding_dim = next(iter(tables.values())).embedding_dim
        self.tables = NamedModules(tables)
        optimizers = optimizers_by_matrix(tables, optimizer)
        check_moved_rows(tables, optimizers)
        matrices = unique_physical_tables(list(tables.values()))
        reads = {
            name: sum(p.name == name for f in features for p in tables[f.table].physical_tables()) for name in matrices
        }
        self.lookup = lookup(matrices, optimizers, reads, dtype=dtype, device=device, clip_rows=clip_rows)
        check_lookup(self.lookup)
        single = [feature for feature in features if feature.pooling is None]
        pooled = [feature for feature in features if feature.pooling in ("sum", "mean")]
        sequences = [feature for feature in features if feature.pooling == "sequence"]
        self._single = [SingleGroup(*parts) for parts in self._grouped(single)]
        self._bags = [BagGroup(*parts) for kind in (pooled, sequences) for parts in self._grouped(kind)]
        self.groups = nn.ModuleList([*self._single, *self._bags])
        self._arrangement = self._arrange()
        num_ids = [tables[feature.table].num_embeddings for feature in single]
        self._unaveraged = Unaveraged("TableCollection")
        self.register_buffer("_num_ids", torch.tensor(num_ids, dtype=torch.int64), persistent=False)
        self._observing = [
            (table, [feature for feature in features if feature.table == name])
            for name, table in tables.items()
            if table.observes and not all(isinstance(optimizers[p.name], Frozen) for p in table.physical_tables())
        ]
        self._regularized = [name for name, each in tables.items() if type(each).regularizer is not Table.regularizer]
        self._penalties: list[Tensor] = []
        self.to(device)
        self.lookup.agree_on([*self.tables.parameters(), *self.tables.buffers()])

    def __prepare_scriptable__(self) -> None:
        """Refuse torch.jit.script, whose language has none of what a table is."""
        raise ValueError("TableCollection cannot be scripted; use torch.jit.trace or torch.export.")

    def _grouped(self, features: Sequence[Feature]) -> list[tuple[list[Feature], list[Table], list[list[Place]]]]:
        """Features by the kind of their table and the stores that it reads."""
        members: dict[tuple[object, ...], tuple[list[Feature], list[Table], list[list[Place]]]] = {}
        for feature in features:
            table = self.table(feature.table)
            places = [self.lookup.place(physical.name) for physical in table.physical_tables()]
            key = (table.signature(), tuple(place.store for place in places))
            own_features, own_tables, own_places = members.setdefault(key, ([], [], []))
            own_features.append(feature)
            own_tables.append(table)
            own_places.append(places)
        return list(members.values())

    def _arrange(self) -> Arrangement:
        single = [feature.name for feature in self.features if feature.pooling is None]
        ids_order = [[single.index(feature.name) for feature in group.features] for group in self._single]
        groups = [*self._single, *(group for group in self._bags if not group.is_sequence)]
        produced = [feature.name for group in groups for feature in group.features]
        wanted = [feature.name for feature in self.features if feature.pooling != "sequence"]
        return Arrangement(ids_order, [len(group) for group in groups], [produced.index(name) for name in wanted])

    def forward(self, ids: Tensor, bags: Mapping[str, Bag] | None = None, started: StartedBatch | None = None) -> Any:
        """Embed a batch; see the class for shapes.

        Args:
            ids: of single-valued features.
            bags: of multi-valued features.
            started: what `start` gave for this batch; passed over if its ids were changed since.

        Raises:
            ValueError: if `ids` has another number of features, a bag is missing, or an id is out of range.
        """
        if is_traced(ids, bags):
            return call_of(self, ids, bags, started)
        embed = _outside_of_graphs() if torch.compiler.is_compiling() else TableCollection._embed
        return embed(self, ids, {} if bags is None else bags, started)

    def _embed(self, ids: Tensor, bags: Mapping[str, Bag], started: StartedBatch | None) -> Any:
        begun = still_of(started, self.lookup, ids, bags)
        if begun is not None:
            routed, lookup = begun.routed, begun.lookup
        else:
            apart = self._taken_apart(ids, bags)
            self._observe(ids, bags)
            routed, lookup = self._route(*apart), None
        rows, number = list(zip(self._rows(routed, lookup), routed.reads, strict=True)), len(self._single)
        vectors: list[Tensor] = []
        sequences: dict[str, tuple[Tensor, Tensor]] = {}
        for group, single, read in zip(self._single, routed.picked, rows[:number], strict=True):
            found, penalty = group.combine(*read, single)
            vectors.append(found)
            self._penalise(penalty)
        for bag_group, own, read in zip(self._bags, routed.ragged, rows[number:], strict=True):
            pieces, penalty = bag_group.embed(*read, own)
            self._penalise(penalty)
            if bag_group.is_sequence:
                sequences |= bag_group.sequences(pieces, own)
            else:
                vectors += pieces
        embedded = self._arrangement.in_feature_order(vectors) if vectors else self._nothing(bags)
        return Embedded(embedded, sequences) if sequences else embedded

    @torch.no_grad()
    def start(self, ids: Tensor, bags: Mapping[str, Bag] | None = None) -> StartedBatch | None:
        """Begin the lookups of a coming batch, so that its ids travel while another batch is computed.

        The rows are read in `forward`, as they are then. None if the tables must first see the batches before, as one
        that takes note of ids does in training mode.
        """
        if any(table.training for table, _ in self._observing):
            return None
        bags = {} if bags is None else bags
        routed = self._route(*self._taken_apart(ids, bags))
        return StartedBatch(self.lookup, tensors_of(ids, bags), routed, self.lookup.start(routed.asked()))

    def _taken_apart(self, ids: Tensor, bags: Mapping[str, Bag]) -> tuple[list[Single], list[Ragged]]:
        """The ids of each group [G, B], and those of each group of bags."""
        self._unaveraged.check()
        check_layout(ids)
        num_single = len(self.get_buffer("_num_ids"))
        if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.shape[0] != num_single:
            got = list(ids.shape) if isinstance(ids, Tensor) else type(ids).__name__
            raise ValueError(
                f"ids must be a Tensor [F1={num_single}, B], one row per single-valued feature, got {got}."
            )
        check_bags(bags, self.features, ids.shape[1] if num_single else None, self.lookup.dtype)
        check_ids(ids, self.get_buffer("_num_ids"), [f.name for f in self.features if f.pooling is None])
        ids = widened(ids)
        ragged = [group.taken_apart(bags) for group in self._bags]
        picked = zip(self._single, self._arrangement.pick_ids(ids), strict=True)
        return [group.taken_apart(own) for group, own in picked], ragged

    def _route(self, picked: Sequence[Single], ragged: Sequence[Ragged]) -> Routed:
        """What each group asks for."""
        singles = [group.route(own) for group, own in zip(self._single, picked, strict=True)]
        bags = [group.route(own) for group, own in zip(self._bags, ragged, strict=True)]
        return Routed(picked, ragged, [*singles, *bags])

    def _rows(self, routed: Routed, lookup: StartedLookup | None) -> list[list[Tensor]]:
        """Rows of each request of each group: [N, G, W] where it has one."""
        found = iter(self.lookup(routed.asked(), lookup))
        device = self.get_buffer("_num_ids").device
        return [
            [next(found) for _ in reads.requests]
            or [torch.zeros(*own.shape, 0, dtype=self.lookup.dtype, device=device)]
            for reads, own in zip(routed.reads, routed.ids(), strict=True)
        ]

    def _nothing(self, bags: Mapping[str, Bag]) -> Tensor:
        """[B, 0, D] where all features are sequences."""
        like = next(iter(bags.values()))
        shape = (len(like), 0, self.embedding_dim)
        return torch.zeros(shape, dtype=self.lookup.dtype, device=like.lengths.device)

    @torch.no_grad()
    def _observe(self, ids: Tensor, bags: Mapping[str, Bag]) -> None:
        """Show the ids of this batch, of all processes, to the tables that take note of them."""
        observing = [(table, features) for table, features in self._observing if table.training]
        if not observing or self.lookup.is_frozen or is_computed_again():
            return
        check_observed([table for table, _ in observing], self.lookup.trains_in_groups)
        columns = dict(zip((f.name for f in self.features if f.pooling is None), ids, strict=True))
        columns |= {name: bag.values for name, bag in bags.items()}
        seen = [torch.cat([columns[feature.name] for feature in features]).long() for _, features in observing]
        for (table, _), of_all in zip(observing, self.lookup.of_all_processes(seen), strict=True):
            table.observe(of_all, self.lookup)

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Let the tables tidy up after an epoch of training; several processes must call this together.

        Frozen rows stay as they are.
        """
        if self.lookup.is_frozen:
            return
        for name in dict.fromkeys(feature.table for feature in self.features):
            table = self.table(name)
            optimizers = {self.lookup.optimizer_of(physical.name) for physical in table.physical_tables()}
            if optimizers != {Frozen()}:
                table.on_epoch_end(self.lookup)

    def table(self, name: str) -> Table:
        """The table of a name; a ValueError if there is none."""
        found = self.tables.named(name)
        assert isinstance(found, Table)
        return found

    def step(self, learning_rate_factor: float = 1.0) -> None:
        """Step the rows with the gradients that wait, where no optimizer holds what stands for them.

        Args:
            learning_rate_factor: of every optimizer's own rate.
        """
        check_number("TableCollection.step", "learning_rate_factor", learning_rate_factor)
        self.lookup.step(learning_rate_factor)

    def param_groups(self) -> list[dict[str, object]]:
        """For a dense optimizer: the tables' parameters, rows with dense gradients, what stands for the others."""
        groups: list[dict[str, object]] = []
        methods = [parameter for parameter in self.tables.parameters() if parameter.requires_grad]
        if methods:
            groups.append({"params": methods})
        return [*groups, *self.lookup.param_groups()]

    def regularizer(self, num_samples: float | Tensor = 1.0) -> Tensor | None:
        """Penalties of the tables, and of what they have read since this was last asked for; None if there are none.

        Args:
            num_samples: that the loss is divided by, and so the sum of the penalties of ids that were read; in several
                processes of all samples, so that its mean over processes is that of one process.

        Raises:
            ValueError: unless it is one number above 0; of a Tensor, one number.
        """
        check_num_samples(num_samples)
        tables = (self.table(name) for name in self._regularized)
        penalties = [penalty for table in tables if (penalty := table.regularizer()) is not None]
        penalties += [penalty / num_samples for penalty in self._penalties]
        self._penalties = []
        return torch.stack(penalties).sum() if penalties else None

    def _penalise(self, penalty: Tensor | None) -> None:
        if penalty is not None and self.training and torch.is_grad_enabled():
            self._penalties.append(penalty)


def _outside_of_graphs() -> Callable[..., Any]:
    """What embeds a batch in a model that torch compiles: the gradients of rows are noted outside of its graphs."""
    outside: Callable[..., Any] = torch.compiler.disable(
        TableCollection._embed, reason="a TableCollection notes the gradients of its rows"
    )
    return outside
