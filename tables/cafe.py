"""CAFE: ids that a sketch finds important have rows of their own for as long as they are, the others share.

Source: Zhang et al., "CAFE: Towards compact, adaptive, and fast embedding for large-scale recommendation models"
(SIGMOD 2024), arXiv:2312.03256, in its variant that measures importance by frequency.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants
from recsys.tables.budget import Bytes, Fraction, size_or_budget
from recsys.tables.distinct import counted
from recsys.tables.interval import IntervalTable
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.hashes import bucket, expected_collisions, name_seeds
from recsys.tables.upkeep import Rows

_CELLS = 4
"""Cells of a bucket of the sketch, as in the paper."""
_UNIT_BITS = 8
"""A count is kept in units of 1 / 256, so that fading leaves something of it."""
_MOST = 1 << 30
"""Counts stay below: an id seen so often has a row of its own beyond doubt."""


class CAFETable(IntervalTable):
    """A sketch counts the ids seen in training; the most frequent have exclusive rows, the rest are hashed.

    The sketch is made of buckets of 4 cells. An id that has a cell of its bucket adds to its count; a new one takes the
    cell with the smallest count and counts from there (SpaceSaving), so that no frequent id is overlooked. After every
    `interval` training batches the ids with the highest counts get exclusive rows: those promoted begin with what their
    shared row has learnt, optimizer state included; a demoted one reads its shared row again, and its own is given
    away. An id that has a row scores a quarter more than its count, both for its cell and for its row, so that equally
    frequent ids do not take turns. In evaluation mode nothing changes.

    Several processes that share rows (TorchrecLookup): the sketch is replicated, and every process decides alike from
    the ids of all.

    Shape:
        ids [N] -> embeddings [N, D]; memory num_rows rows of D and the sketch, 24 bytes per exclusive row, 32 with
        2**31 ids or more; in training also the ids since the last decision, 8 bytes each.

    Differs from the paper: the sketch is merged with the counts of an interval (Agarwal et al., "Mergeable summaries",
    2012), where the authors update it id by id; rows go to the highest counts instead of those above a threshold that
    follows the number of rows; counts fade by `decay` an interval, in place of a growing threshold; importance by
    gradient norm is not offered, since rows are stepped where no gradient of a single id is at hand.

    Args:
        name: feature or table name; it seeds the hashes.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        num_rows: rows, exclusive and shared, at least 2; or give one of:
        budget_bytes: bytes that the matrix, in float32, and the sketch may take.
        budget_fraction: the same as a fraction of the full table's bytes.
        hash_fraction: share of the rows that are shared by hashing, in (0, 1); the paper has .3.
        interval: training batches between decisions.
        decay: what is left of a count after an interval, in (0, 1].
        min_count: occurrences below which an id gets no row of its own.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: unless exactly one size is given, or if a number is out of range.
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
        hash_fraction: float = 0.3,
        interval: int = 10,
        decay: float = 0.999,
        min_count: int = 2,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        if not 0 < hash_fraction < 1:
            raise ValueError(f"CAFETable '{name}': hash_fraction must be in (0, 1), got {hash_fraction!r}.")
        if not 0 < decay <= 1:
            raise ValueError(f"CAFETable '{name}': decay must be in (0, 1], got {decay!r}.")
        self.require("interval", interval, 1)
        self.require("min_count", min_count, 1)
        self.hash_fraction, self.decay, self.min_count, self.init_std = hash_fraction, decay, min_count, init_std
        budget = size_or_budget(self, budget_bytes, budget_fraction, num_rows=num_rows)
        if budget is not None:
            num_rows = budget.largest(self._bytes_of, 2, max(2, num_embeddings + 1))
        assert num_rows is not None
        self.require("num_rows", num_rows, 2, 1 << 31)
        self.num_rows, self.num_hot = num_rows, self._hot_of(num_rows)
        num_buckets = self._buckets_of(num_rows)
        cells = (num_buckets, _CELLS)
        self.register_buffer("cell_ids", torch.full(cells, -1, dtype=self._id_dtype))
        self.register_buffer("cell_counts", torch.zeros(cells, dtype=torch.int32))
        self.register_buffer("cell_rows", torch.full(cells, -1, dtype=torch.int32))
        self.register_constants(seed=name_seeds(name, 2), num_buckets=[num_buckets, num_rows - self.num_hot])
        self.wait_for(interval)

    @property
    def _id_dtype(self) -> torch.dtype:
        return torch.int32 if self.num_embeddings <= 1 << 31 else torch.int64

    def _hot_of(self, num_rows: int) -> int:
        """Exclusive rows: at least one, and at least one is left to share."""
        return min(num_rows - 1, self.num_embeddings, max(1, round((1 - self.hash_fraction) * num_rows)))

    def _buckets_of(self, num_rows: int) -> int:
        """Two cells for each exclusive row: an id has to be counted before it can have one."""
        return -(-2 * self._hot_of(num_rows) // _CELLS)

    def _bytes_of(self, num_rows: int) -> int:
        """Bytes of the matrix and the buffers."""
        cell_bytes = self._id_dtype.itemsize + 4 + 4
        return 4 * num_rows * self.embedding_dim + self._buckets_of(num_rows) * _CELLS * cell_bytes + 8

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix: exclusive rows, then shared ones."""
        return (PhysicalTable(self.name, self.num_rows, self.embedding_dim, self.init_std),)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id's own row if it has one, else a hashed one behind them."""
        places = bucket(ids, constants["seed"], constants["num_buckets"])
        cells, shared = places[..., :1, :], places[..., 1:, :] + self.num_hot
        of_bucket, flat = (*cells.shape, _CELLS), cells.flatten()
        is_own = self.get_buffer("cell_ids").index_select(0, flat).view(of_bucket) == ids.to(self._id_dtype).unsqueeze(
            -1
        )
        rows = self.get_buffer("cell_rows").index_select(0, flat).view(of_bucket)
        own = torch.where(is_own, rows, -1).amax(-1)
        return torch.where(own >= 0, own, shared)

    def decide(self, ids: Tensor, rows: Rows) -> None:
        """Count the ids of an interval, and give the exclusive rows to those counted most."""
        distinct, occurrences = counted(ids, self.num_embeddings)
        added = (occurrences << _UNIT_BITS).clamp(max=_MOST)
        buckets = bucket(distinct, self.get_buffer("seed")[0], self.get_buffer("num_buckets")[0])
        self._fade()
        is_own = self.get_buffer("cell_ids")[buckets] == distinct.unsqueeze(1)
        known = is_own.any(1)
        counts, places = self.get_buffer("cell_counts"), (buckets[known], is_own[known].int().argmax(1))
        counts[places] = (counts[places] + added[known]).clamp(max=_MOST).int()
        self._replace(distinct[~known], buckets[~known], added[~known])
        self._promote(rows)

    def _fade(self) -> None:
        """Multiply all counts by decay, rounding down, by integers that are alike in all processes."""
        counts = self.get_buffer("cell_counts")
        counts.copy_((counts.long() * round(self.decay * (1 << 16))) >> 16)

    def _replace(self, ids: Tensor, buckets: Tensor, added: Tensor) -> None:
        """Of cells and newcomers the four that score most stay in each bucket; a newcomer begins at its least count."""
        # By bucket, in it the most frequent first: both are below 2**31.
        order = torch.argsort((buckets << 31) | (_MOST - added), stable=True)
        ids, buckets, added = ids[order], buckets[order], added[order]
        # The place of each among the newcomers of its bucket; the cells they may take are those that score least.
        rank = torch.arange(len(ids), device=ids.device) - torch.searchsorted(buckets, buckets)
        first = rank < _CELLS
        ids, buckets, added, rank = ids[first], buckets[first], added[first], rank[first]
        least = self.get_buffer("cell_counts")[buckets].amin(1)
        score, cells = self._scores()[buckets].sort(dim=1, stable=True)
        counts = (least + added).clamp(max=_MOST)
        won = counts > score.gather(1, rank.unsqueeze(1)).squeeze(1)
        places = buckets[won], cells.gather(1, rank.unsqueeze(1)).squeeze(1)[won]
        self.get_buffer("cell_ids")[places] = ids[won].to(self._id_dtype)
        self.get_buffer("cell_counts")[places] = counts[won].int()
        self.get_buffer("cell_rows")[places] = -1

    def _scores(self) -> Tensor:
        """Counts, a quarter more for those who have a row."""
        counts = self.get_buffer("cell_counts").long()
        return counts + torch.where(self.get_buffer("cell_rows") >= 0, counts >> 2, 0)

    def _promote(self, rows: Rows) -> None:
        """Exclusive rows for those that score most."""
        ids, counts, own = (self.get_buffer(f"cell_{kind}").flatten() for kind in ("ids", "counts", "rows"))
        has_row = own >= 0
        # Of equal scores the first: a score is below 2**31, and its place, at most 2**32, is told apart behind it.
        behind = torch.arange((1 << 32) - 1, (1 << 32) - 1 - len(own), -1, device=own.device)
        best = ((self._scores().flatten() << 32) | behind).topk(self.num_hot, sorted=False).indices
        chosen = torch.zeros_like(has_row)
        chosen[best] = True
        chosen &= has_row | (counts >= self.min_count << _UNIT_BITS)
        own[has_row & ~chosen] = -1
        promoted = (chosen & ~has_row).nonzero().squeeze(1)
        is_free = torch.ones(self.num_hot, dtype=torch.bool, device=own.device)
        is_free[own[own >= 0].long()] = False
        targets = is_free.nonzero().squeeze(1)[: len(promoted)]
        seed, num_buckets = self.get_buffer("seed")[1], self.get_buffer("num_buckets")[1]
        sources = self.num_hot + bucket(ids[promoted].long(), seed, num_buckets)
        own[promoted] = targets.int()
        rows.copy_rows(self.name, sources, targets)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows and the same sketch.

        Raises:
            ValueError: if rows that are shared would become exclusive.
        """
        sizes = {"num_rows": self.num_rows, "budget_bytes": None, "budget_fraction": None}
        arguments: dict[str, Any] = {**self.arguments, "num_embeddings": num_embeddings, **sizes}
        if type(self)(**arguments).num_hot != self.num_hot:
            raise ValueError(
                f"CAFETable '{self.name}' cannot grow to num_embeddings={num_embeddings}: of its {self.num_rows} rows "
                f"{self.num_hot}, one for each id, are exclusive, and more would have to be; make a new table."
            )
        return {"num_embeddings": num_embeddings, **sizes}

    def expected_collisions(self) -> float:
        """Ids without a row of their own, once all are given away, expected to read that of one before them."""
        rest = max(0, self.num_embeddings - self.num_hot)
        return expected_collisions(rest, [self.num_rows - self.num_hot]) if rest else 0.0
