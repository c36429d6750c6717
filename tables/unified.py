"""Unified embedding with feature multiplexing (Coleman et al., NeurIPS 2023, arXiv:2305.12102)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants
from recsys.tables.budget import Bytes, Fraction
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.hashes import bucket, expected_collisions, name_seeds
from recsys.tables.sharing import SharingTable


class UnifiedTable(SharingTable):
    """One matrix for all features; an id reads num_lookups rows of it and lays them side by side.

    Every feature hashes with seeds of its own, so that ids of two features that meet in a row do not meet in the next
    and the model can tell the features apart.

    Shape:
        ids [N] -> embeddings [N, D]; memory num_rows rows of D / num_lookups, shared by all tables of one `storage`.

    Differs from the paper: the hash is splitmix64 seeded by the feature's name and the probe number, where the
    authors' code salts by the order of insertion.

    Args:
        name: feature name; it seeds the hashes.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D, a multiple of num_lookups.
        num_rows: rows of the shared matrix; or give
        budget_bytes: bytes the shared matrix may take in float32; or
        budget_fraction: the same as a fraction of the bytes of all full tables that the matrix replaces: in a
            collection, the shares of the tables of one `storage` add up.
        num_lookups: K, rows per id.
        storage: name of the shared matrix; tables with one storage share it.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: unless exactly one size is given, if it is below one row, or if D is no multiple of num_lookups.
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
        num_lookups: int = 2,
        storage: str = "unified",
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.require("num_lookups", num_lookups, 1, embedding_dim, "embedding_dim")
        if embedding_dim % num_lookups:
            raise ValueError(
                f"UnifiedTable '{name}': embedding_dim={embedding_dim} must be a multiple of num_lookups={num_lookups}."
            )
        self.num_lookups = num_lookups
        self.share(num_rows, budget_bytes, budget_fraction, embedding_dim // num_lookups, storage, init_std)
        self.register_constants(seed=name_seeds(name, num_lookups), num_buckets=[self.num_rows] * num_lookups)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """The shared matrix, read K times.

        Raises:
            ValueError: if its budget, or all shares of it, are less than a row.
        """
        return (self.shared_matrix(),) * self.num_lookups

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """One hash per lookup, seeded by the feature."""
        return bucket(ids, constants["seed"], constants["num_buckets"])

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows: hashes do not depend on the number of ids."""
        return {
            "num_embeddings": num_embeddings,
            "num_rows": self.num_rows,
            "budget_bytes": None,
            "budget_fraction": None,
        }

    def expected_collisions(self) -> float:
        """Ids of this feature expected to share all their rows with an earlier id of it."""
        return expected_collisions(self.num_embeddings, [self.num_rows] * self.num_lookups)
