"""Product quantisation of trained vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recsys.compression.allocation import Choice, allocate
from recsys.compression.method import Method, bytes_of
from recsys.compression.trained import Compressed, TrainedTable, constant, whole
from recsys.tables import CodebookTable
from recsys.tables.physical import named_generator

_CHOICES = (256, 64, 16)
_MUCH = 4
"""Smaller codebooks are tried for a table that would take more than one part in so many of the budget."""
_SAMPLE_IDS = 1 << 14
_ROUNDS = 8
_PIECE_IDS = 1 << 16
_PIECE_VECTORS = 1 << 9
"""Vectors whose distances to 256 centres stay in a processor's cache."""


class ProductQuantization(Method):
    """A byte for each part of an id's vector; how many parts each table has is what all together lose least with.

    Source: Jegou, Douze and Schmid, "Product quantization for nearest neighbor search" (TPAMI 2011), with k-means that
    weighs ids by frequency and columns by sensitivity. Codebooks and what they lose are of a sample of the ids, among
    them the most frequent ones. Where 256 rows of a codebook are much of the budget, 64 and 16 are tried too. A table
    that gets no parts becomes its mean.
    """

    name = "pq"

    def compress(self, tables: Sequence[TrainedTable], budget_bytes: int) -> dict[str, Compressed]:
        """See Method."""
        samples = {table.name: _Sample(table) for table in tables}
        books = {table.name: _all_books(table, samples[table.name], budget_bytes) for table in tables}
        choices = {
            table.name: [
                Choice(4 * table.embedding_dim, samples[table.name].spread()),
                *(each.choice for each in books[table.name]),
                Choice(table.full_bytes, 0.0),
            ]
            for table in tables
        }
        chosen = allocate(choices, budget_bytes)
        if chosen is None:
            raise self.refuse(budget_bytes, sum(own[0].num_bytes for own in choices.values()))
        found = {}
        for table in tables:
            place, own = chosen[table.name], books[table.name]
            if place == 0:
                found[table.name] = constant(table)
            else:
                found[table.name] = whole(table) if place > len(own) else own[place - 1].encode(table)
        assert bytes_of(found) <= budget_bytes
        return found


class _Sample:
    """Ids of a table that codebooks are made of: all, or half of them the most frequent and half drawn from the others.

    Args:
        table: the table.
    """

    def __init__(self, table: TrainedTable) -> None:
        self._table = table
        self.generator = named_generator(f"{table.name}/pq", seed=0)
        scale = table.sensitivity.clamp(min=float(table.sensitivity.max()) * 1e-6 + 1e-30).sqrt()
        self.scale = scale
        if table.num_embeddings <= _SAMPLE_IDS:
            self.vectors, self.weights = table.vectors * scale, table.weights
            return
        half = _SAMPLE_IDS // 2
        frequent = table.counts.topk(half).indices
        others = torch.randint(table.num_embeddings, (half,), generator=self.generator)
        others = others[~torch.isin(others, frequent)].unique()
        # Those drawn stand for all that are not frequent.
        of_others = (1 - float(table.weights[frequent].sum())) / max(1e-12, float(table.weights[others].sum()))
        self.vectors = table.vectors[torch.cat([frequent, others])] * scale
        self.weights = torch.cat([table.weights[frequent], table.weights[others] * of_others])

    def spread(self) -> float:
        """What the mean alone costs."""
        mean = self.weights @ self.vectors / self.weights.sum()
        return float(self.weights @ (self.vectors - mean).square().sum(1))


class Books:
    """Codebooks of a table for a number of parts.

    Args:
        table: the table.
        sample: of its ids.
        num_parts: of a vector, which divide D.
        num_choices: rows of each codebook.
    """

    def __init__(self, table: TrainedTable, sample: _Sample, num_parts: int, num_choices: int) -> None:
        self._scale, self._num_choices = sample.scale, num_choices
        parts = sample.vectors.split(table.embedding_dim // num_parts, 1)
        self._books = []
        loss = 0.0
        for part in parts:
            book = weighted_means(part, sample.weights, num_choices, _ROUNDS, sample.generator)
            self._books.append(book)
            loss += float(sample.weights @ (part - book[nearest(part, book)]).square().sum(1))
        self.choice = Choice(num_parts * table.num_embeddings + 4 * num_choices * table.embedding_dim, loss)
        """What it takes and loses."""

    def encode(self, table: TrainedTable) -> Compressed:
        """The table with the codes of all ids."""
        num_parts, dim = len(self._books), table.embedding_dim
        width = dim // num_parts
        codes = torch.empty(num_parts, table.num_embeddings, dtype=torch.uint8)
        scales = self._scale.split(width)
        for start in range(0, table.num_embeddings, _PIECE_IDS):
            parts = table.vectors[start : start + _PIECE_IDS].split(width, 1)
            for number, (part, book, scale) in enumerate(zip(parts, self._books, scales, strict=True)):
                codes[number, start : start + len(part)] = nearest(part * scale, book).to(torch.uint8)
        found = CodebookTable(
            table.name, table.num_embeddings, dim, num_parts=num_parts, num_choices=self._num_choices, codes=codes
        )
        return found, {table.name: torch.cat([book / scale for book, scale in zip(self._books, scales, strict=True)])}


def product_quantized(table: TrainedTable, num_parts: int, num_choices: int) -> Compressed:
    """A table as codes and codebooks.

    Args:
        table: the table.
        num_parts: of a vector, which divide D.
        num_choices: rows of each codebook, at most 256.
    """
    return Books(table, _Sample(table), num_parts, num_choices).encode(table)


def _all_books(table: TrainedTable, sample: _Sample, budget_bytes: int) -> list[Books]:
    """Codebooks for each number of parts and of choices with which the table may fit, and is smaller than it was."""
    dim, found = table.embedding_dim, []
    for num_parts in (parts for parts in range(1, dim + 1) if dim % parts == 0):
        for num_choices in dict.fromkeys(min(choices, table.num_embeddings) for choices in _CHOICES):
            num_bytes = num_parts * table.num_embeddings + 4 * num_choices * dim
            if num_bytes < min(table.full_bytes, budget_bytes):
                found.append(Books(table, sample, num_parts, num_choices))
            if _MUCH * num_bytes < budget_bytes:
                break
    return found


def weighted_means(
    vectors: Tensor, weights: Tensor, num_means: int, num_rounds: int, generator: torch.Generator
) -> Tensor:
    """Centres of clusters [num_means, W] of vectors [N, W] that weigh something [N]: k-means.

    Source: Arthur and Vassilvitskii, "k-means++" (SODA 2007), then Lloyd's rounds; a centre that is nearest to none
    moves to the vector that costs most.

    Args:
        vectors: to cluster, at least num_means.
        weights: at least 0.
        num_means: clusters.
        num_rounds: of assigning and averaging.
        generator: of the random numbers.
    """
    centres = _spread_out(vectors, weights, num_means, generator)
    for _ in range(num_rounds):
        places = nearest(vectors, centres)
        total = torch.zeros(num_means, dtype=weights.dtype).index_add_(0, places, weights)
        sums = torch.zeros_like(centres).index_add_(0, places, vectors * weights.unsqueeze(1))
        filled = total > 0
        centres[filled] = sums[filled] / total[filled].unsqueeze(1)
        empty = (~filled).nonzero().squeeze(1)
        if len(empty):
            costs = weights * (vectors - centres[places]).square().sum(1)
            centres[empty] = vectors[costs.topk(len(empty)).indices]
    return centres


def _spread_out(vectors: Tensor, weights: Tensor, num_means: int, generator: torch.Generator) -> Tensor:
    """Vectors to begin with, each drawn by what it costs with those before."""
    centres = torch.empty(num_means, vectors.shape[1])
    costs = weights
    distances = torch.full((len(vectors),), float("inf"))
    for number in range(num_means):
        # In float64 and by halving: multinomial takes no more than 2**24 vectors.
        total = costs.double().cumsum(0)
        place = torch.searchsorted(total, float(total[-1]) * torch.rand((), generator=generator, dtype=torch.float64))
        centres[number] = vectors[place.clamp(max=len(vectors) - 1)]
        distances = torch.minimum(distances, (vectors - centres[number]).square().sum(1))
        costs = weights * distances
    return centres


def nearest(vectors: Tensor, centres: Tensor) -> Tensor:
    """The nearest centre of each vector, [N, W] and [C, W] -> [N]."""
    squares, directions = centres.square().sum(1), centres.T
    found = torch.empty(len(vectors), dtype=torch.int64)
    for start in range(0, len(vectors), _PIECE_VECTORS):
        piece = vectors[start : start + _PIECE_VECTORS]
        # Less the vector's own square, which is the same for all centres; min is twice as fast as argmin.
        distances = torch.addmm(squares, piece, directions, alpha=-2)
        found[start : start + len(piece)] = distances.min(1).indices
    return found
