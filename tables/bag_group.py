"""Multi-valued features whose tables are of one kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from recsys.tables.features import Bag, all_weighted_or_none, concatenate_bags, pad_sequences, pool
from recsys.tables.group import Group, total_penalty
from recsys.tables.group_ids import Ragged
from recsys.tables.input_checks import check_ids, check_lengths
from recsys.tables.routed import Reads


class BagGroup(Group):
    """Multi-valued features, all pooled or all left as sequences; the number of operations is that of one feature.

    Except on a GPU where a table has parameters and is not linear: its features are combined one after the other.
    """

    def taken_apart(self, bags: Mapping[str, Bag]) -> Ragged:
        """The ids of its features, checked."""
        own, names = [bags[feature.name] for feature in self.features], [feature.name for feature in self.features]
        joined = own[0] if len(own) == 1 else concatenate_bags(all_weighted_or_none(own))
        counts = [bag.values.numel() for bag in own]
        check_lengths(joined.lengths, counts, names)
        ragged = Ragged(joined, counts)
        check_ids(joined.values, self.get_buffer("num_ids"), names, ragged.features)
        ragged.distinct = None if self._pools_first else self.merged(ragged.ids, ragged.features)
        return ragged

    def route(self, ragged: Ragged) -> Reads:
        """The rows that all ids [N] read."""
        return self.flat_reads(ragged.distinct or ragged)

    def embed(self, found: Sequence[Tensor], reads: Reads, ragged: Ragged) -> tuple[list[Tensor], Tensor | None]:
        """Rows [N, 1, W] -> pooled vectors [B, G, D], or each feature's sequence [N_g, D]; and their penalty."""
        if self._pools_first:
            pooled = self._pool(found[0].squeeze(1), ragged)
            return [
                self._tables[0].combine(pooled, self.parameters_of(), self._no_ids(pooled), self._constants.combining())
            ], None
        vectors, penalty = self.flat_vectors(found, reads, ragged.distinct or ragged)
        vectors = vectors if ragged.distinct is None else ragged.distinct.spread(vectors)
        penalty = total_penalty(penalty, ragged.distinct)
        if self.is_sequence:
            return list(vectors.split(ragged.counts)), penalty
        return [self._pool(vectors, ragged)], penalty

    @property
    def is_sequence(self) -> bool:
        """Whether its features are left un-pooled."""
        return self.features[0].pooling == "sequence"

    def sequences(self, pieces: Sequence[Tensor], ragged: Ragged) -> dict[str, tuple[Tensor, Tensor]]:
        """Vectors [N_g, D] of each feature -> [B, L, D] and a mask [B, L], by name."""
        lengths = ragged.lengths.view(len(self), -1)
        samples = ragged.samples.split(ragged.counts)
        return {
            feature.name: pad_sequences(piece, own - g * ragged.num_samples, lengths[g], feature.max_length)
            for g, (feature, piece, own) in enumerate(zip(self.features, pieces, samples, strict=True))
        }

    @property
    def _pools_first(self) -> bool:
        """A linear table's parameters meet one row per sample instead of one per id."""
        return not self.is_sequence and bool(self._parameter_names) and self._tables[0].linear and not self.penalises

    @staticmethod
    def _no_ids(pooled: Tensor) -> Tensor:
        """A linear table depends on no id."""
        return torch.zeros(pooled.shape[:2], dtype=torch.int64, device=pooled.device)

    def _pool(self, vectors: Tensor, ragged: Ragged) -> Tensor:
        """[N, D] -> [B, G, D]."""
        if ragged.weights is not None:
            vectors = vectors * ragged.weights.unsqueeze(1).to(vectors.dtype)
        pooled = pool(vectors, ragged.samples, len(ragged.lengths)).view(
            len(self), ragged.num_samples, vectors.shape[1]
        )
        if self._any_mean:
            divisors = ragged.lengths.clamp(min=1).view(len(self), ragged.num_samples, 1).to(pooled.dtype)
            pooled = pooled / torch.where(self.get_buffer("is_mean").bool(), divisors, 1.0)
        return pooled.transpose(0, 1)
