"""Deduplicated tables: blocks of ids whose vectors are alike share the rows of one block.

Source: Zhou et al., "Serving deep learning models with deduplication from relational databases" (VLDB 2022),
arXiv:2201.10442, as Dedup in arXiv:2311.15578.
"""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Bytes, Fraction, size_or_budget
from recsys.tables.numbers import check_number
from recsys.tables.physical import PhysicalTable, named_generator
from recsys.tables.placement import check_dense
from recsys.tables.routing.hashes import bucket, expected_collisions, mix64, name_seed

_PROJECTIONS = 4
"""Rounded projections that make a key: blocks as far apart as is tolerated have equal keys in two of five cases."""
_WIDTH = 4.0
"""What a projection is rounded to, in distances that are tolerated."""


class DedupTable(Table):
    """Ids are cut into blocks of block_size; each block of ids reads a block of rows, which several may share.

    `of_vectors` finds the blocks of trained vectors that are alike. Without `blocks` nothing is known of them, and
    blocks of ids are hashed.

    Shape:
        ids [N] -> embeddings [N, D]; memory the rows and, with `blocks`, 4 bytes for each block of ids.

    Differs from the papers: a block is some neighbouring ids with all their values; blocks with equal L2-LSH keys are
    compared before they are merged, by their distance; the most frequent ids of those merged keep their vectors.

    Args:
        name: feature or table name; it seeds the hash.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        num_rows: rows, of which whole blocks are used; with V or more nothing is shared; or give one of:
        budget_bytes: bytes that the rows may take in float32.
        budget_fraction: the same as a fraction of the full table's bytes.
        blocks: [ceil(V / block_size)] int32, the block of rows of each block of ids, numbered from 0 without gaps; kept
            with the checkpoint, and in place of a size.
        block_size: ids of a block; 1 shares rows id by id.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: unless exactly one size is given, if it is below a block, or if blocks are numbered otherwise.
    """

    sizes = Table.sizes | {"blocks"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_rows: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        blocks: Tensor | None = None,
        block_size: int = 8,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.require("block_size", block_size, 1)
        self.block_size, self.init_std = block_size, init_std
        least = min(block_size, num_embeddings)
        budget = size_or_budget(self, budget_bytes, budget_fraction, num_rows=num_rows, blocks=blocks)
        if budget is not None:
            num_rows = budget.largest(lambda rows: 4 * self._whole(rows) * embedding_dim, least, num_embeddings)
        if blocks is not None:
            num_rows = self._keep(blocks)
        assert num_rows is not None
        self.require("num_rows", num_rows, least, 1 << 31)
        self.num_rows = self._whole(num_rows) if blocks is None else num_rows
        # A seed of its own hashes blocks; a bucket of 0 stands for a block of rows for each block of ids.
        is_whole = self.num_rows == num_embeddings
        self.register_constants(seed=[name_seed(name)], num_buckets=[0 if is_whole else self.num_rows // block_size])

    def _whole(self, num_rows: int) -> int:
        """Rows that make whole blocks, or all ids."""
        return self.num_embeddings if num_rows >= self.num_embeddings else num_rows // self.block_size * self.block_size

    def _keep(self, blocks: Tensor) -> int:
        """Keep the block of rows of each block of ids; how many rows there are."""
        num_blocks = -(-self.num_embeddings // self.block_size)
        if blocks.shape != (num_blocks,):
            raise ValueError(
                f"DedupTable '{self.name}': blocks must be {num_blocks} numbers, one for each {self.block_size} of "
                f"num_embeddings={self.num_embeddings} ids, got {list(blocks.shape)}."
            )
        self.register_listed(blocks=blocks.to(torch.int32))
        kept = blocks.unique().long()
        if not torch.equal(kept, torch.arange(len(kept), device=kept.device)):
            raise ValueError(
                f"DedupTable '{self.name}': blocks must be numbers from 0 without gaps, got {len(kept)} of them in "
                f"[{int(kept[0])}, {int(kept[-1])}]."
            )
        # The last block of ids may be short; rows end with it where nothing longer reads that block.
        ends = (blocks.long() + 1) * self.block_size
        ends[-1] -= -self.num_embeddings % self.block_size
        return int(ends.max())

    @classmethod
    @torch.no_grad()
    def of_vectors(
        cls,
        name: str,
        vectors: Tensor,
        *,
        block_size: int = 8,
        tolerance: float = 0.1,
        num_keys: int = 16,
        init_std: float = DEFAULT_INIT_STD,
    ) -> tuple[Self, dict[str, Tensor]]:
        """The table in which blocks of vectors that are alike share rows, and the values of its matrix by name.

        Args:
            name: of the table; it seeds the projections.
            vectors: [V, D] of the ids.
            block_size: ids of a block.
            tolerance: two blocks may be merged if the root of the mean square of their difference is at most so many
                standard deviations of all values.
            num_keys: L2-LSH keys of each block; blocks are compared where one of them is equal.
            init_std: of a table that is built with the same arguments.

        Raises:
            ValueError: if vectors are no finite [V, D], or tolerance, num_keys or block_size below what makes sense.
        """
        if not tolerance >= 0 or num_keys < 1:
            raise ValueError(
                f"DedupTable '{name}': tolerance must be at least 0 and num_keys at least 1, got {tolerance!r} and "
                f"{num_keys!r}."
            )
        if not isinstance(vectors, Tensor) or vectors.dim() != 2 or not vectors.is_floating_point():
            got = f"{list(vectors.shape)} of {vectors.dtype}" if isinstance(vectors, Tensor) else type(vectors).__name__
            raise ValueError(f"DedupTable '{name}': vectors must be floating-point numbers [V, D], got {got}.")
        check_dense(f"DedupTable '{name}'", "vectors", vectors)
        if not len(vectors) or not bool(vectors.isfinite().all()):
            raise ValueError(f"DedupTable '{name}': vectors must be finite, and of one id at least.")
        check_number(f"DedupTable '{name}'", "block_size", block_size, 1)
        num_embeddings, embedding_dim = vectors.shape
        whole = num_embeddings // block_size
        flat = vectors[: whole * block_size].float().reshape(whole, block_size * embedding_dim)
        most = tolerance * float(vectors.float().std(correction=0)) * math.sqrt(flat.shape[1])
        first = _first_alike(flat, most, num_keys, named_generator(f"{name}/projections"))
        kept, blocks = first.unique(return_inverse=True)
        if whole * block_size < num_embeddings:
            blocks = torch.cat([blocks, blocks.new_tensor([len(kept)])])
        table = cls(
            name,
            num_embeddings,
            embedding_dim,
            blocks=blocks.int(),
            block_size=block_size,
            init_std=init_std,
        )
        rows = flat[kept].reshape(-1, embedding_dim)
        return table, {name: torch.cat([rows.to(vectors.dtype), vectors[whole * block_size :]])}

    def signature(self) -> tuple[object, ...]:
        """Tables with given blocks route otherwise than those without."""
        return (*super().signature(), "blocks" in self.per_id_names)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix."""
        return (PhysicalTable(self.name, self.num_rows, self.embedding_dim, self.init_std),)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id's place in the block of rows of its block."""
        block = torch.div(ids, self.block_size, rounding_mode="floor")
        if "blocks" in constants:
            shared = constants["blocks"](block).long()
        else:
            num_buckets = constants["num_buckets"]
            shared = bucket(block, constants["seed"], num_buckets) + block * (num_buckets == 0)
        return shared * self.block_size + ids % self.block_size

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows and hashed blocks; with given blocks, or a row for each id, rows of their own for new ids."""
        sizes = {"budget_bytes": None, "budget_fraction": None}
        if "blocks" not in self.per_id_names:
            num_rows = num_embeddings if self.num_rows == self.num_embeddings else self.num_rows
            return {"num_embeddings": num_embeddings, **sizes, "num_rows": num_rows}
        blocks = self.get_buffer("blocks")
        number = -(-num_embeddings // self.block_size) - len(blocks)
        more = torch.arange(number, dtype=blocks.dtype, device=blocks.device) + blocks.max() + 1
        return {"num_embeddings": num_embeddings, **sizes, "blocks": torch.cat([blocks, more])}

    def expected_collisions(self) -> float:
        """Ids that share their row with one before them; expected ones where blocks are hashed."""
        if "blocks" in self.per_id_names or self.num_rows == self.num_embeddings:
            return float(self.num_embeddings - self.num_rows)
        num_blocks = -(-self.num_embeddings // self.block_size)
        met = expected_collisions(num_blocks, [self.num_rows // self.block_size])
        return met * self.num_embeddings / num_blocks


def _first_alike(values: Tensor, most: float, num_keys: int, generator: torch.Generator) -> Tensor:
    """For each row [N, W] the first that it is merged with, itself if there is none: [N].

    Rows of one key are compared with the first of them that has not been merged; one that others were merged with stays
    as it is, so that no vector is further from its own than `most`.
    """
    first = torch.arange(len(values), device=values.device)
    has_others = torch.zeros(len(values), dtype=torch.bool, device=values.device)
    width = max(_WIDTH * most, 1e-30)
    for _ in range(num_keys):
        projections = torch.randn(values.shape[1], _PROJECTIONS, generator=generator).to(values)
        offsets = torch.rand(_PROJECTIONS, generator=generator).to(values)
        parts = (values @ projections / width + offsets).floor().double().clamp(-(2.0**62), 2.0**62).long()
        key = torch.zeros_like(first)
        for part in parts.unbind(1):
            key = mix64(key ^ part)
        roots = (first == torch.arange(len(first), device=first.device)).nonzero().squeeze(1)
        _, group = key[roots].unique(return_inverse=True)
        leader = torch.full_like(roots, len(first)).scatter_reduce_(0, group, roots, "amin")[group]
        near = (values[roots] - values[leader]).norm(dim=1) <= most
        merged = near & (leader != roots) & ~has_others[roots]
        first[roots[merged]] = leader[merged]
        has_others[leader[merged]] = True
    return first
