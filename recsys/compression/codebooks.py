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

_MOST_CHOICES = 256
_SAMPLE_IDS = 1 << 16
_ROUNDS = 12
_PIECE_IDS = 1 << 16


class ProductQuantization(Method):
    """A byte for each part of an id's vector; how many parts each table has is what all together lose least with.

    Source: Jegou, Douze and Schmid, "Product quantization for nearest neighbor search" (TPAMI 2011), with k-means that
    weighs ids by frequency and columns by sensitivity. A table that gets no parts becomes its mean.
    """

    name = "pq"

    def compress(self, tables: Sequence[TrainedTable], budget_bytes: int) -> dict[str, Compressed]:
        """See Method."""
        made = {table.name: [constant(table), *_codebooks(table, budget_bytes), whole(table)] for table in tables}
        choices = {
            table.name: [Choice(bytes_of({table.name: each}), _loss(table, each)) for each in made[table.name]]
            for table in tables
        }
        chosen = allocate(choices, budget_bytes)
        if chosen is None:
            raise self.refuse(budget_bytes, sum(own[0].num_bytes for own in choices.values()))
        found = {name: made[name][place] for name, place in chosen.items()}
        assert bytes_of(found) <= budget_bytes
        return found


def _codebooks(table: TrainedTable, budget_bytes: int) -> list[Compressed]:
    """The table with each number of parts that may fit."""
    dim, num_choices = table.embedding_dim, min(_MOST_CHOICES, table.num_embeddings)
    found = []
    for num_parts in (parts for parts in range(1, dim + 1) if dim % parts == 0):
        num_bytes = num_parts * table.num_embeddings + 4 * num_choices * dim
        if num_bytes < min(table.full_bytes, budget_bytes):
            found.append(product_quantized(table, num_parts, num_choices))
    return found


@torch.no_grad()
def product_quantized(table: TrainedTable, num_parts: int, num_choices: int) -> Compressed:
    """A table as codes and codebooks.

    Args:
        table: the table.
        num_parts: of a vector, which divide D.
        num_choices: rows of each codebook.
    """
    width = table.embedding_dim // num_parts
    codes = torch.empty(num_parts, table.num_embeddings, dtype=torch.uint8)
    books = []
    for part in range(num_parts):
        columns = slice(part * width, (part + 1) * width)
        scale = table.sensitivity[columns].clamp(min=float(table.sensitivity.max()) * 1e-6 + 1e-30).sqrt()
        generator = named_generator(f"{table.name}/pq", seed=part)
        sample = _sample(table, generator)
        book = weighted_means(
            table.vectors[sample, columns] * scale, table.weights[sample], num_choices, _ROUNDS, generator
        )
        for start in range(0, table.num_embeddings, _PIECE_IDS):
            piece = slice(start, start + _PIECE_IDS)
            codes[part, piece] = nearest(table.vectors[piece, columns] * scale, book).to(torch.uint8)
        books.append(book / scale)
    found = CodebookTable(
        table.name, table.num_embeddings, table.embedding_dim, num_parts=num_parts, num_choices=num_choices, codes=codes
    )
    return found, {table.name: torch.cat(books)}


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
    return (centres.square().sum(1) - 2 * vectors @ centres.T).argmin(1)


def _sample(table: TrainedTable, generator: torch.Generator) -> Tensor:
    """Ids that codebooks are made of: all, or the most frequent and as many others."""
    if table.num_embeddings <= _SAMPLE_IDS:
        return torch.arange(table.num_embeddings)
    frequent = table.counts.topk(_SAMPLE_IDS // 2).indices
    others = torch.randint(table.num_embeddings, (_SAMPLE_IDS // 2,), generator=generator)
    return torch.cat([frequent, others]).unique()


@torch.no_grad()
def _loss(table: TrainedTable, compressed: Compressed) -> float:
    """What a table costs by second order."""
    made, matrices = compressed
    total = 0.0
    for piece in table.pieces():
        ids = torch.arange(piece.start, piece.stop)
        rows = (
            [
                matrices[physical.name][numbers]
                for physical, numbers in zip(made.physical_tables(), made.rows_of(ids), strict=True)
            ]
            if made.physical_tables()
            else [torch.zeros(len(ids), 0)]
        )
        errors = made.vectors_of(torch.cat(rows, 1), ids) - table.vectors[piece]
        total += float(table.weights[piece] @ (errors.square() @ table.sensitivity))
    return total
