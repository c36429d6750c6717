"""The portrait of one table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.argument_types import typed
from recsys.description.optimizer_state import StateBytes, table_state_bytes
from recsys.description.vectors import vectors_of
from recsys.tables import TableCollection

MAX_COUNTED_IDS = 5_000_000
MAX_SAMPLED_IDS = 20_000
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class NormBin:
    """Ids of similar frequency.

    Args:
        frequency: geometric middle of their counts; 0 for ids never seen.
        num_ids: how many were looked at.
        low: first quartile of the norms of their vectors.
        median: of the norms.
        high: third quartile.
    """

    frequency: float
    num_ids: int
    low: float
    median: float
    high: float


@dataclass(frozen=True)
class TablePortrait:
    """What a table is and what it has learned.

    Args:
        name: of the table.
        method: its class.
        num_embeddings: V.
        embedding_dim: D.
        num_rows: rows of its matrices.
        serving_bytes: of matrices and parameters, as the table is served; shared matrices count in full for each table.
        training_bytes: with optimizer state, of the rows and of the table's own parameters.
        compression_ratio: V x D values over serving_bytes.
        expected_collisions: ids, of all V, expected to share all their rows with one before them.
        collisions: ids that do, or have its content, among those seen in training; None with more than 5 million.
        unused_rows: rows that no id seen in training reads; None likewise.
        dead_rows: rows of nothing but zeros.
        effective_rank: RankMe of sampled vectors, in [1, D].
        num_sampled: ids of the sample.
        singular_values: of the sample, largest first, over their sum.
        norms: by frequency; empty without counts.
    """

    name: str
    method: str
    num_embeddings: int
    embedding_dim: int
    num_rows: int
    serving_bytes: int
    training_bytes: int
    compression_ratio: float
    expected_collisions: float
    collisions: int | None
    unused_rows: int | None
    dead_rows: int
    effective_rank: float
    num_sampled: int
    singular_values: list[float]
    norms: list[NormBin]


@typed
def portray(
    collection: TableCollection,
    name: str,
    counts: Counts | None = None,
    seed: int = 0,
    state_bytes: StateBytes | None = None,
) -> TablePortrait:
    """The portrait of a table of a trained collection.

    Args:
        collection: with the trained rows.
        name: of the table.
        counts: [V] how often each id occurs in training; without them all ids count as seen.
        seed: of the sample.
        state_bytes: that dense optimizers keep of each parameter; without them only the state of optimizers that update
            rows in the backward pass counts.

    Raises:
        ValueError: if counts does not have one entry for every id.
    """
    table, lookup = collection.table(name), collection.lookup
    if counts is not None and len(counts) != table.num_embeddings:
        raise ValueError(f"counts of table '{name}' must have {table.num_embeddings:,} ids, got {len(counts):,}.")
    matrices = {physical.name: physical for physical in table.physical_tables()}
    seen = np.arange(table.num_embeddings) if counts is None else np.flatnonzero(counts)
    sample = _sample(seen, seed)
    vectors = vectors_of(collection, name, torch.from_numpy(sample)).double().cpu()
    spectrum = singular_values(vectors)
    stored = sum(lookup.stored_bytes(matrix) for matrix in matrices) + table.own_bytes()
    served = table.served_bytes()
    serving = stored if served is None else served
    state = sum(lookup.state_bytes(matrix) for matrix in matrices) + table.training_bytes()
    state += table_state_bytes(collection, name, state_bytes or {})
    collisions, unused = _use_of_rows(collection, name, seen)
    return TablePortrait(
        name=name,
        method=type(table).__name__,
        num_embeddings=table.num_embeddings,
        embedding_dim=table.embedding_dim,
        num_rows=sum(physical.num_rows for physical in matrices.values()),
        serving_bytes=serving,
        training_bytes=stored + state,
        compression_ratio=table.logical_bytes() / serving if serving else float("inf"),
        expected_collisions=table.expected_collisions(),
        collisions=collisions,
        unused_rows=unused,
        dead_rows=sum(int((lookup.weight(matrix) == 0).all(1).sum()) for matrix in matrices),
        effective_rank=effective_rank(vectors),
        num_sampled=len(sample),
        singular_values=spectrum.tolist(),
        norms=[] if counts is None else _norms(collection, name, counts, seed),
    )


def singular_values(vectors: Tensor) -> Tensor:
    """Singular values [min(N, D)] of vectors [N, D], largest first, divided by their sum."""
    values = torch.linalg.svdvals(vectors) if len(vectors) else vectors.new_zeros(0)
    return values / values.sum() if values.sum() > 0 else values


@typed
def effective_rank(vectors: Tensor) -> float:
    """RankMe (Garrido et al., 2023, arXiv:2210.02885): exp of the entropy of the normalised singular values.

    Shape:
        vectors [N, D] -> a number in [1, min(N, D)]; 0 if all are zero or there are none.

    Raises:
        ValueError: if they are no such matrix, or not finite.
    """
    if vectors.dim() != 2 or vectors.layout != torch.strided or vectors.is_meta or vectors.is_complex():
        got = f"{list(vectors.shape)} of {vectors.dtype}, {vectors.layout} on '{vectors.device}'"
        raise ValueError(f"effective_rank: vectors must be a matrix [N, D] of real numbers, got {got}.")
    if not bool(vectors.isfinite().all()):
        raise ValueError("effective_rank: vectors must be finite, and some are not.")
    p = singular_values(vectors.double())
    p = p[p > 0]
    return float(torch.exp(-(p * p.log()).sum())) if len(p) else 0.0


def _sample(ids: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    if len(ids) <= MAX_SAMPLED_IDS:
        return ids
    return np.sort(np.random.default_rng(seed).choice(ids, MAX_SAMPLED_IDS, replace=False))


def _use_of_rows(collection: TableCollection, name: str, seen: NDArray[np.int64]) -> tuple[int | None, int | None]:
    """Seen ids that share all their rows with one before them, and rows that no seen id reads."""
    if len(seen) > MAX_COUNTED_IDS:
        return None, None
    table = collection.table(name)
    rows = table.rows_of(torch.from_numpy(seen))
    likeness = table.likeness()
    if likeness is not None:
        num_different = len(likeness[torch.from_numpy(seen)].unique())
    else:
        num_different = torch.unique(rows, dim=1).shape[1] if len(rows) else min(1, len(seen))
    used: dict[str, Tensor] = {}
    for physical, picked in zip(table.physical_tables(), rows, strict=True):
        used.setdefault(physical.name, torch.zeros(physical.num_rows, dtype=torch.bool))[picked[picked >= 0]] = True
    return len(seen) - num_different, sum(int((~flags).sum()) for flags in used.values())


def _norms(collection: TableCollection, name: str, counts: Counts, seed: int) -> list[NormBin]:
    """Norms of the vectors of ids never seen, and by powers of two of their count."""
    kinds = np.where(counts > 0, np.floor(np.log2(np.maximum(counts, 1))).astype(np.int64), -1)
    found = []
    for kind in np.unique(kinds):
        ids = _sample(np.flatnonzero(kinds == kind), seed)
        norms = vectors_of(collection, name, torch.from_numpy(ids)).double().norm(dim=1).cpu().numpy()
        low, median, high = (float(value) for value in np.quantile(norms, [0.25, 0.5, 0.75]))
        middle = 0.0 if kind < 0 else float(2.0**kind * np.sqrt(2))
        found.append(NormBin(middle, int((kinds == kind).sum()), low, median, high))
    return found
