"""Several tables for one feature, which see the same ids."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from recsys.tables.base import Constants, Table
from recsys.tables.combined_fit import fit_sum
from recsys.tables.factories import table_of
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.hashes import mix64

PartFactory = Callable[[str, int, int], Table]
"""Called with (name, num_embeddings, embedding_dim), and init_std."""


class CombinedTable(Table):
    """Parts that all see an id, each with rows of its own, and whose vectors become one.

    The parts are no modules below this one: what they keep of ids and what they train is registered here, under their
    place, so that tables of this kind are routed and combined together as others are.

    Args:
        name: feature or table name; parts are called NAME/0, NAME/1, ...
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        tables: makes each part; its init_std follows from this table's.
        dims: width of each part.
        init_stds: of each part.

    Raises:
        ValueError: with fewer than two parts, or one whose state changes outside its rows.
    """

    sizes = Table.sizes | {"tables"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        tables: Sequence[PartFactory | Table],
        dims: Sequence[int],
        init_stds: Sequence[float],
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        with torch.device("cpu"):  # what parts keep of ids has values, also where rows are to have none yet
            parts = self._made(tables, dims, init_stds)
        self._parts = parts
        self._check_parts()
        self.linear = all(part.linear for part in parts)  # type: ignore[misc]
        self.awaits_checkpoint = any(part.awaits_checkpoint for part in parts)
        self.leaves_out = any(part.leaves_out for part in parts)  # type: ignore[misc]
        # What a checkpoint says of this table: its parts as they are, not what has made them.
        self.arguments |= {"tables": parts}
        self._widths = [sum(part.row_dims) for part in parts]
        self._num_lookups = [len(part.row_dims) for part in parts]
        self._constants = [{own: f"part{place}_{own}" for own in part.constants()} for place, part in enumerate(parts)]
        self._per_ids = [{own: f"part{place}_{own}" for own in part.per_id_names} for place, part in enumerate(parts)]
        self._parameters_of: list[dict[str, str]] = []
        self._register()

    def _made(
        self, tables: Sequence[PartFactory | Table], dims: Sequence[int], init_stds: Sequence[float]
    ) -> tuple[Table, ...]:
        """The parts; those that are tables are taken as they are."""
        made = []
        for place, (make, dim, std) in enumerate(zip(tables, dims, init_stds, strict=True)):
            sizes = (f"{self.name}/{place}", self.num_embeddings, dim)
            owner = f"{type(self).__name__} '{self.name}': tables, part {place}"
            made.append(make if isinstance(make, Table) else table_of(owner, make, *sizes, init_std=std))
        return tuple(made)

    def _check_parts(self) -> None:
        owner = f"{type(self).__name__} '{self.name}'"
        if len(self._parts) < 2:
            raise ValueError(f"{owner}: tables must be two or more, got {len(self._parts)}.")
        for part in self._parts:
            kind = type(part)
            keeps = {name for name, _ in part.named_buffers()} - part.derived_names() - {*part.per_id_names}
            hooks = ("sized_among", "penalty", "regularizer", "observe", "on_epoch_end")
            if keeps or any(getattr(kind, hook) is not getattr(Table, hook) for hook in hooks):
                raise ValueError(
                    f"{owner}: a {kind.__name__} cannot be a part, since it depends on more than its rows and settings"
                    "; give it a feature of its own."
                )

    def _register(self) -> None:
        """Keep what the parts keep, under names of their own."""
        constants: dict[str, list[int]] = {}
        for place, part in enumerate(self._parts):
            constants |= {self._constants[place][own]: value.tolist() for own, value in part.constants().items()}
            self.take_listed(part, self._per_ids[place])
            names = {own: f"part{place}_{own.replace('.', '_')}" for own, _ in part.named_parameters()}
            for own, new in names.items():
                values = part.get_parameter(own).detach().to(torch.get_default_device(), copy=True)
                self.register_parameter(new, nn.Parameter(values))
            self._parameters_of.append(names)
        self.register_constants(**constants)

    def built_again(self) -> Self:
        """Of parts that are built again, since this table trains what is theirs."""
        arguments: dict[str, Any] = {**self.arguments, "tables": tuple(part.built_again() for part in self._parts)}
        with torch.device("cpu"):
            return type(self)(**arguments)

    def signature(self) -> tuple[object, ...]:
        """Tables of one kind whose parts are of one kind."""
        return (*super().signature(), *(part.signature() for part in self._parts))

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """Those of the parts, one part after the other."""
        return tuple(matrix for part in self._parts for matrix in part.physical_tables())

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The rows of the parts, one part after the other."""
        rows = [
            part.route(ids, self._own(constants, place))
            for place, part in enumerate(self._parts)
            if self._num_lookups[place]
        ]
        shape = torch.broadcast_shapes(*(each.shape[:-2] for each in rows))
        return torch.cat([each.expand(*shape, *each.shape[-2:]) for each in rows], dim=-2)

    def _own(self, constants: Constants, place: int) -> dict[str, Any]:
        names = {**self._constants[place], **self._per_ids[place]}
        return {own: constants[new] for own, new in names.items()}

    def part_vectors(
        self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants
    ) -> list[Tensor]:
        """What each part makes of its rows: [N, G, D_i]."""
        pieces = rows.split(self._widths, dim=-1)
        return [
            part.combine(
                piece,
                {own: parameters[new] for own, new in self._parameters_of[place].items()},
                ids,
                self._own(constants, place),
            )
            for place, (part, piece) in enumerate(zip(self._parts, pieces, strict=True))
        ]

    def fit_parts(self, fit: Callable[[], None]) -> None:
        """Let the parts be fitted, and take over what they train."""
        for part in self._parts:
            part.to(dtype=torch.float32)
        fit()
        for names, part in zip(self._parameters_of, self._parts, strict=True):
            for own, new in names.items():
                self.get_parameter(new).copy_(part.get_parameter(own))

    def fit_sum(self, scales: Sequence[Tensor], vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Each part to what the others leave, where vectors are the sum of theirs times a number [N] of each id."""
        self.fit_parts(lambda: fit_sum(self._parts, scales, vectors, ids, rows))

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """Parts that have grown."""
        return {"num_embeddings": num_embeddings, "tables": tuple(part.grown(num_embeddings) for part in self._parts)}

    @abstractmethod
    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """One vector of those of the parts."""

    def reads_as(self) -> str:
        """How each part does."""
        parts = [part.reads_as() for part in self._parts]
        return " beside ".join(each or "rows" for each in parts) if any(parts) else ""

    def reconcile(self, state: dict[str, Tensor]) -> list[str]:
        """What each part says of its own."""
        said = []
        for place, part in enumerate(self._parts):
            own = {name: state[new] for name, new in self._per_ids[place].items() if new in state}
            said += part.reconcile(own)
            state |= {self._per_ids[place][name]: value for name, value in own.items()}
        return said

    def expected_collisions(self) -> float:
        """Ids that are alike in the part that tells most of them apart."""
        return min(part.expected_collisions() for part in self._parts)

    def likeness(self) -> Tensor | None:
        """Ids are alike that are so in every part."""
        found = torch.zeros(self.num_embeddings, dtype=torch.int64)
        for part in self._parts:
            own = part.likeness()
            if own is None:
                return None
            found = mix64(found, 0) + own.cpu()
        return found

    def extra_repr(self) -> str:
        """The parts."""
        return f"'{self.name}', " + " + ".join(f"{type(part).__name__}({part.extra_repr()})" for part in self._parts)
