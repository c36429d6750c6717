"""Clustered compositional embeddings: hashed at first, then ids of like vectors are pointed to the same rows.

Source: Tsang and Ahle, "Clustering the sketch: Dynamic compression for embedding tables" (NeurIPS 2023),
arXiv:2210.05974.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Budget, Bytes, Fraction, size_or_budget
from recsys.tables.centroid_fit import fit_centroids
from recsys.tables.clustering import kmeans, nearest
from recsys.tables.least_squares import fit_linear, squared_error
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.hashes import bucket, expected_collisions, name_seed, name_seeds
from recsys.tables.upkeep import Rows

_MAX_CHUNKS = 4
_STATE_BYTES = 16
_BLOCK_IDS = 1 << 18
_POINTS_PER_CLUSTER = 200
_MAX_POINTS = 1 << 20
_ROUND = 0x5851F42D4C957F2D


class CCETable(Table):
    """Each of num_chunks chunks of the vector is the sum of two rows: one that a pointer says, one of a hash.

    Pointers begin as hashes. After an epoch, chunk by chunk, the vectors that ids have are clustered by k-means: a
    pointer becomes the id's cluster, the first rows the centroids; the hash is drawn anew, and its rows become the mean
    of what the centroids leave of the ids that meet in them. All rows start afresh with their optimizer's state, so
    that an epoch of training must follow: `last_clustering_epoch` says which is the last to end so. All processes take
    what the first has found.

    Shape:
        ids [N] -> embeddings [N, D]; memory 2 num_chunks num_clusters rows of D / num_chunks, num_chunks pointers of 2
        bytes, or 4 with more than 32768 clusters, for each of num_pointers ids, and 16 bytes.

    Differs from the paper: ids from num_pointers on have the pointers of one below, by a hash, so that any budget can
    be met; the vectors of at most 200 ids a cluster, and of 2**20, are clustered, from random ones of them; empty
    clusters and buckets are allowed for, and the state of optimizers is reset, which the authors' code leaves.

    Args:
        name: feature or table name; it seeds the hashes.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D, a multiple of num_chunks.
        num_clusters: rows of each of the two matrices of a chunk; or give one of:
        budget_bytes: bytes rows, in float32, and pointers may take.
        budget_fraction: the same as a fraction of the full table's bytes.
        num_chunks: in [1, 4]; the paper has 4.
        num_pointers: ids with pointers of their own, the first; by default all, or what half of a budget buys.
        last_clustering_epoch: how many epochs end with clustering; with 0 the table stays hashed.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: unless exactly one size is given, if a number is out of range, or D is no multiple of num_chunks.
    """

    moves_rows = True
    sizes = Table.sizes | {"num_clusters", "num_pointers", "last_clustering_epoch"}
    repeats_cost = True

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_clusters: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        num_chunks: int = 4,
        num_pointers: int | None = None,
        last_clustering_epoch: int = 1,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.require("num_chunks", num_chunks, 1, _MAX_CHUNKS)
        self.require("last_clustering_epoch", last_clustering_epoch, 0)
        if num_pointers is not None:
            self.require("num_pointers", num_pointers, 1)
            num_pointers = min(num_pointers, num_embeddings)
        if embedding_dim % num_chunks:
            raise ValueError(
                f"CCETable '{name}': embedding_dim={embedding_dim} must be a multiple of num_chunks={num_chunks}."
            )
        self.num_chunks, self.last_clustering_epoch, self.init_std = num_chunks, last_clustering_epoch, init_std
        budget = size_or_budget(self, budget_bytes, budget_fraction, num_clusters=num_clusters)
        if budget is not None:
            num_clusters, num_pointers = self._within(budget, num_pointers)
        assert num_clusters is not None
        self.require("num_clusters", num_clusters, 1, (1 << 31) // (2 * num_chunks))
        self.num_clusters = num_clusters
        self.num_pointers = num_pointers or num_embeddings
        self.register_constants(
            seed=name_seeds(name, 2 * num_chunks),
            num_buckets=[num_clusters],
            num_slots=[self.num_pointers],
            slot_seed=[name_seed(name, 2 * num_chunks)],
        )
        self.register_listed(pointers=self._hashed_pointers(), num_clusterings=torch.zeros(1, 1, dtype=torch.int64))
        self.register_buffer("num_epochs", torch.zeros(1, dtype=torch.int64))

    def _bytes_of(self, num_clusters: int, num_pointers: int) -> int:
        pointer_bytes = self.num_chunks * _pointer_dtype(num_clusters).itemsize
        return 8 * self.embedding_dim * num_clusters + pointer_bytes * num_pointers + _STATE_BYTES

    def _within(self, budget: Budget, num_pointers: int | None) -> tuple[int, int]:
        """Clusters and pointers that a budget buys; where they are free, pointers take at most half of it."""
        budget.require(self._bytes_of(1, num_pointers or 1))
        found = []
        for pointer_bytes in (2, 4):
            half, rest = budget.num_bytes // 2, budget.num_bytes - self._bytes_of(1, 0)
            affordable = max(1, min(half, rest) // (pointer_bytes * self.num_chunks))
            pointers = num_pointers or min(self.num_embeddings, affordable)
            count_bytes = partial(self._bytes_of, num_pointers=pointers)
            found.append((budget.largest(count_bytes, 1, self.num_embeddings), pointers))
        return max(found, key=lambda sizes: self._bytes_of(*sizes))

    def _hashed_pointers(self) -> Tensor:
        """[num_chunks, num_pointers] of the hash that a table starts with."""
        pointers = torch.empty(self.num_chunks, self.num_pointers, dtype=_pointer_dtype(self.num_clusters))
        seeds = self.constants()["seed"][: self.num_chunks].unsqueeze(1)
        for ids in _blocks(self.num_pointers, pointers.device):
            pointers[:, ids] = bucket(ids, seeds, self.num_clusters).to(pointers.dtype)
        return pointers

    def signature(self) -> tuple[object, ...]:
        """Pointers of tables in a group are kept as one memory, of one dtype."""
        return (*super().signature(), self.listed_dtype("pointers"))

    @property
    def min_epochs(self) -> int:
        """One after the last that ends with clustering."""
        return self.last_clustering_epoch + 1

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix of all rows, those of pointers and those of hashes in turns, chunk after chunk."""
        num_rows = 2 * self.num_chunks * self.num_clusters
        matrix = PhysicalTable(self.name, num_rows, self.embedding_dim // self.num_chunks, self.init_std / math.sqrt(2))
        return (matrix,) * (2 * self.num_chunks)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """Each chunk's pointer, and a hash that changes with every clustering."""
        num_slots, num_buckets = constants["num_slots"], constants["num_buckets"]
        slots = torch.where(ids < num_slots, ids, bucket(ids, constants["slot_seed"], num_slots))
        pointed = constants["pointers"](slots).long()
        seeds = constants["seed"][..., self.num_chunks :, :]
        hashed = bucket(ids, seeds + _ROUND * constants["num_clusterings"](torch.zeros_like(ids)), num_buckets)
        rows = torch.stack([pointed, hashed], dim=-2).flatten(-3, -2)
        return rows + num_buckets * torch.arange(2 * self.num_chunks, device=ids.device).unsqueeze(-1)

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """The sums of two rows side by side."""
        return rows.unflatten(-1, (self.num_chunks, 2, -1)).sum(-2).flatten(-2)

    @torch.no_grad()
    def on_epoch_end(self, rows: Rows) -> None:
        """Cluster, unless the last epoch to do so is over."""
        num_epochs = self.get_buffer("num_epochs").add_(1)
        if int(num_epochs) > self.last_clustering_epoch:
            return
        pointers = self.get_buffer("pointers")
        all_rows = torch.arange(2 * self.num_chunks * self.num_clusters, device=pointers.device)
        before = _Vectors(self, rows.read_rows(self.name, all_rows))
        seed = name_seed(self.name, 2 * self.num_chunks + int(num_epochs))
        points = before.of(self._sample(seed))
        centroids = torch.stack([kmeans(chunk, self.num_clusters, seed=seed) for chunk in points])
        rows.agree_on([centroids])
        for ids in _blocks(self.num_pointers, pointers.device):
            found = [nearest(*chunk)[0] for chunk in zip(before.of(ids), centroids, strict=True)]
            self.write_listed("pointers", ids, torch.stack(found))
        rows.agree_on([pointers])
        self.get_buffer("num_clusterings").add_(1)
        residuals = self._mean_residuals(before, centroids)
        rows.agree_on([residuals])
        rows.reset_rows(self.name, all_rows, torch.stack([centroids, residuals], dim=1).flatten(0, 2))

    def _sample(self, seed: int) -> Tensor:
        """Ids with pointers, all or as many as are clustered."""
        device = self.get_buffer("pointers").device
        most = min(_POINTS_PER_CLUSTER * self.num_clusters, _MAX_POINTS)
        if self.num_pointers <= most:
            return torch.arange(self.num_pointers, device=device)
        return bucket(torch.arange(most, device=device), seed, self.num_pointers)

    def _mean_residuals(self, before: _Vectors, centroids: Tensor) -> Tensor:
        """What centroids leave of the ids' vectors, its mean for each row of the new hash: [C, num_clusters, d]."""
        sums = torch.zeros_like(centroids).flatten(0, 1)
        counts = torch.zeros(len(sums), dtype=torch.int64, device=sums.device)
        chunks = torch.arange(self.num_chunks, device=sums.device).unsqueeze(1)
        for ids in _blocks(self.num_embeddings, sums.device):
            # Rows of a chunk follow those of the chunk before, of pointers first.
            numbers = self.rows_of(ids).view(self.num_chunks, 2, -1)
            pointed = numbers[:, 0] - chunks * self.num_clusters
            hashed = numbers[:, 1] - (chunks + 1) * self.num_clusters
            left = (before.of(ids) - centroids.flatten(0, 1)[pointed]).flatten(0, 1)
            sums.index_add_(0, hashed.flatten(), left)
            counts += torch.bincount(hashed.flatten(), minlength=len(sums))
        return (sums / counts.clamp(min=1).unsqueeze(1)).view_as(centroids)

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Pointers to the clusters of each chunk, if that comes nearer than those it has; rows by least squares."""
        matrix, pointers = rows[self.name], self.get_buffer("pointers")
        fit_linear(self, vectors, ids, rows)
        hashed, before, error = matrix.clone(), pointers.clone(), squared_error(self, vectors, ids, rows)
        has_own = ids < self.num_pointers
        seed, found = name_seed(self.name, 2 * self.num_chunks), []
        for values in vectors[has_own].unflatten(1, (self.num_chunks, -1)).unbind(1):
            centroids = fit_centroids(values.contiguous(), self.num_clusters, None, seed)
            found.append(nearest(values.contiguous(), centroids)[0])
        self.write_listed("pointers", ids[has_own], torch.stack(found))
        fit_linear(self, vectors, ids, rows)
        if squared_error(self, vectors, ids, rows) > error:
            matrix.copy_(hashed)
            pointers.copy_(before)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows and pointers; new ids have the pointers of old ones."""
        sizes = {"num_clusters": self.num_clusters, "num_pointers": self.num_pointers}
        return {"num_embeddings": num_embeddings, **sizes, "budget_bytes": None, "budget_fraction": None}

    def expected_collisions(self) -> float:
        """Ids expected to read the same rows as one before them, while pointers are hashes; clusters are no chance."""
        return expected_collisions(self.num_embeddings, [self.num_clusters] * (2 * self.num_chunks))


class _Vectors:
    """The vectors that ids have when it is made, chunk by chunk.

    Args:
        table: whose ids they are.
        rows: all of its rows.
    """

    def __init__(self, table: CCETable, rows: Tensor) -> None:
        self._rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        self._table = table
        self._constants = copy.deepcopy(table._own_constants(-1))

    def of(self, ids: Tensor) -> Tensor:
        """Ids [N] -> [num_chunks, N, d]."""
        numbers = self._table.route(ids.unsqueeze(0), self._constants)
        return self._rows[numbers].unflatten(0, (-1, 2)).sum(1)


def _pointer_dtype(num_clusters: int) -> torch.dtype:
    return torch.int16 if num_clusters <= 1 << 15 else torch.int32


def _blocks(num_ids: int, device: torch.device) -> Iterator[Tensor]:
    """All ids, some at a time."""
    for start in range(0, num_ids, _BLOCK_IDS):
        yield torch.arange(start, min(start + _BLOCK_IDS, num_ids), device=device)
