"""Single values: by magnitude, and by how much the loss would feel their absence."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from recsys.compression.histograms import counts_above, lowest_place, threshold_of
from recsys.compression.method import Method, bytes_of
from recsys.compression.trained import Compressed, TrainedTable, whole
from recsys.tables import SparseTable
from recsys.tables.routing.ranks import WORD_BITS, pack_bits


class EntryPruning(Method):
    """Keeps the values with the highest scores of all tables; the others take the common vector's."""

    def compress(self, tables: Sequence[TrainedTable], budget_bytes: int) -> dict[str, Compressed]:
        """See Method."""
        scores = [self.scores(table) for table in tables]
        num_bytes = torch.stack([_bytes_by_bin(own) for own in scores]).sum(0)
        place = lowest_place(num_bytes, budget_bytes)
        if place is None:
            raise self.refuse(budget_bytes, int(num_bytes[-1]))
        threshold = threshold_of(place)
        found = {}
        for table, own in zip(tables, scores, strict=True):
            kept = own >= threshold
            found[table.name] = whole(table) if _is_whole(kept) else sparse(table, kept, self.common(table, kept))
        assert bytes_of(found) <= budget_bytes
        return found

    @abstractmethod
    def scores(self, table: TrainedTable) -> Tensor:
        """[V, D] of the values, at least 0, in float32."""

    @abstractmethod
    def common(self, table: TrainedTable, kept: Tensor) -> Tensor:
        """[D] what values that are not kept become."""


class MagnitudePruning(EntryPruning):
    """The largest values by magnitude, zeros instead of the others: the baseline that elaborate pruners rarely beat.

    Source: Han et al., "Learning both weights and connections" (arXiv:1506.02626), over all tables at once.
    """

    name = "magnitude"

    def scores(self, table: TrainedTable) -> Tensor:
        """See EntryPruning."""
        return table.vectors.abs()

    def common(self, table: TrainedTable, kept: Tensor) -> Tensor:
        """See EntryPruning."""
        return torch.zeros(table.embedding_dim)


class SaliencyPruning(EntryPruning):
    """The values that the loss is most sensitive to: frequency x sensitivity x squared distance to the column's mean.

    Source: LeCun et al., "Optimal brain damage" (NIPS 1989); what is pruned takes the mean by frequency of what its
    column loses, as columns do in Zhu et al., "Shaver" (arXiv:2411.13052).
    """

    name = "saliency"

    def scores(self, table: TrainedTable) -> Tensor:
        """See EntryPruning."""
        found = torch.empty_like(table.vectors)
        mean = table.mean()
        for piece in table.pieces():
            distances = (table.vectors[piece] - mean).square_().mul_(table.sensitivity)
            found[piece] = distances.mul_(table.weights[piece].unsqueeze(1))
        return found

    def common(self, table: TrainedTable, kept: Tensor) -> Tensor:
        """See EntryPruning."""
        total = torch.zeros(2, table.embedding_dim, dtype=torch.float64)
        for piece in table.pieces():
            weights = table.weights[piece].unsqueeze(1) * ~kept[piece]
            total[0] += (weights * table.vectors[piece]).sum(0, dtype=torch.float64)
            total[1] += weights.sum(0, dtype=torch.float64)
        return torch.where(total[1] > 0, total[0] / total[1].clamp(min=1e-300), table.mean().double()).float()


@torch.no_grad()
def sparse(table: TrainedTable, kept: Tensor, common: Tensor) -> Compressed:
    """The values that are kept of a table, and a common vector for the others.

    Args:
        table: the table.
        kept: [V, D] flags.
        common: [D].
    """
    found, rows = sparse_table(table.name, kept), kept.any(1)
    found.common.copy_(common)
    if not found.physical_tables():
        return found, {}
    return found, {table.name: (table.vectors[rows] - common)[kept[rows]].unsqueeze(1)}


def sparse_table(name: str, kept: Tensor) -> SparseTable:
    """A table for the values that are kept [V, D]; where none is, it needs no bits to say so."""
    rows = kept.any(1)
    if not bool(rows.any()):
        return SparseTable(name, *kept.shape, num_values=0)
    return SparseTable(name, *kept.shape, entries=pack_bits(kept[rows].reshape(-1)), kept=pack_bits(rows))


def _is_whole(kept: Tensor) -> bool:
    """Whether a plain matrix is smaller than the bits that say what is kept."""
    return 4 * kept.numel() <= sparse_bytes(kept)


def _bytes_by_bin(scores: Tensor) -> Tensor:
    """Bytes of a table [V, D] whose values reach each bin."""
    num_values, num_rows = counts_above(scores), counts_above(scores.amax(1))
    return _bytes_of_counts(num_values, num_rows, *scores.shape).clamp(max=4 * scores.numel())


def sparse_bytes(kept: Tensor) -> int:
    """Bytes of a SparseTable with these values [V, D]."""
    return int(_bytes_of_counts(kept.sum(), kept.any(1).sum(), *kept.shape))


def _bytes_of_counts(num_values: Tensor, num_rows: Tensor, num_embeddings: int, embedding_dim: int) -> Tensor:
    """Bytes of SparseTables with so many values, in so many rows."""
    num_words = -(-num_embeddings // WORD_BITS) - (-num_rows * embedding_dim).div(WORD_BITS, rounding_mode="floor")
    return 4 * (num_values + embedding_dim) + 12 * num_words * (num_rows > 0)
