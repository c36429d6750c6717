"""Frequent ids apart, rare ones of all features in one hashed matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.hashes import bucket, expected_collisions, name_seeds


class HeadTailTable(Table):
    """The first num_head ids have a row each; the others read num_lookups rows of a matrix that features share.

    Ids are numbered by falling count, so that the head is what is read most and the tail what is read least; `recsys
    plan` chooses every feature's head and the tail's rows for a total budget.

    Source: the head is exact as in Zhang et al. (arXiv:2007.14523) and others, the tail is the unified matrix of
    Coleman et al. (arXiv:2305.12102), rows side by side.

    Shape:
        ids [N] -> embeddings [N, D]; memory num_head rows of D, and num_rows rows of D / num_lookups that all tables of
        one `storage` share.

    Args:
        name: feature name; it seeds the hashes.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D, a multiple of num_lookups.
        num_head: ids with a row of their own, at most V.
        num_rows: rows of the shared matrix.
        num_lookups: K, rows of the shared matrix that an id reads.
        storage: name of the shared matrix; tables with one storage share it.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if a size is below 1, or D is no multiple of num_lookups.
    """

    leaves_out = True
    sizes = Table.sizes | {"num_head", "storage"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_head: int,
        num_rows: int,
        num_lookups: int = 2,
        storage: str = "tail",
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.require("num_head", num_head, 1)
        self.require("num_rows", num_rows, 1, 1 << 31)
        self.require("num_lookups", num_lookups, 1, embedding_dim, "embedding_dim")
        if embedding_dim % num_lookups:
            raise ValueError(
                f"HeadTailTable '{name}': embedding_dim={embedding_dim} must be a multiple of "
                f"num_lookups={num_lookups}."
            )
        self.num_head = min(num_head, num_embeddings)
        self.num_rows = num_rows
        self.num_lookups = num_lookups
        if not storage:
            raise ValueError(f"{type(self).__name__} '{self.name}': storage must be the name of a matrix, got ''.")
        self.storage = storage
        self.init_std = init_std
        # The head is a lookup too: what it needs instead of a hash is how far it goes.
        self.register_constants(
            head=[self.num_head] * (1 + num_lookups),
            seed=[0, *name_seeds(name, num_lookups)],
            num_buckets=[num_rows] * (1 + num_lookups),
        )

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """The head's own matrix, and the shared one, read K times."""
        head = PhysicalTable(self.name, self.num_head, self.embedding_dim, self.init_std)
        tail = PhysicalTable(self.storage, self.num_rows, self.embedding_dim // self.num_lookups, self.init_std)
        return (head, *(tail,) * self.num_lookups)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id itself in the head and no row of the tail, or the other way round."""
        is_head = ids < constants["head"]
        rows = bucket(ids, constants["seed"], constants["num_buckets"])
        rows.masked_fill_(is_head, -1)
        rows[..., :1, :] = ids.masked_fill(~is_head[..., :1, :], -1)
        return rows

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """The row of the head, or the rows of the tail side by side: the other is zeros."""
        head, tail = rows.split(self.embedding_dim, dim=-1)
        return head + tail

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same head; new ids are of the tail."""
        return {"num_embeddings": num_embeddings, "num_head": self.num_head}

    def expected_collisions(self) -> float:
        """Ids of the tail expected to share all their rows with an earlier id of this feature."""
        return expected_collisions(self.num_embeddings - self.num_head, [self.num_rows] * self.num_lookups)
