"""The embedding of spaCy and thinc: an id's vector is the sum of four rows of one matrix, by one MurmurHash.

Source: Miranda et al., "Multi hash embeddings in spaCy" (2022), arXiv:2212.09255; thinc's HashEmbed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Bytes, Fraction, size_or_budget
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.hashes import expected_sum_collisions, name_seed
from recsys.tables.routing.murmur import murmur3_words

_WORDS = 4
_TRAP = 8


class MurmurTable(Table):
    """Ids share num_rows rows; each adds up four of them, by the words of MurmurHash3_x86_128 of the id and a seed.

    With thinc's number of rows and seed, an id reads the rows that thinc's HashEmbed reads for the same key, so that
    rows trained there can be loaded. Seed 8, spaCy's first, sends id 0 four times to row 0: it is warned of.

    Shape:
        ids [N] -> embeddings [N, D]; memory num_rows rows of D.

    Differs from thinc: without a seed, one that is made of the feature's name; rows start uniform such that their sum
    has the deviation asked for, where thinc draws each from +-.1.

    Args:
        name: feature or table name; it seeds the hash if no seed is given.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        num_rows: rows of the feature's own matrix, at most 2**32 - 1; or give one of:
        budget_bytes: bytes the matrix may take in float32.
        budget_fraction: the same as a fraction of the full table's bytes.
        seed: of the hash, in [0, 2**32).
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: unless exactly one size is given, or if one or the seed is out of range.
    """

    sums = True
    sizes = Table.sizes | {"seed"}
    repeats_cost = True

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_rows: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        seed: int | None = None,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        budget = size_or_budget(self, budget_bytes, budget_fraction, num_rows=num_rows)
        if budget is not None:
            num_rows = budget.largest(lambda rows: 4 * rows * embedding_dim, 1, num_embeddings)
        assert num_rows is not None
        self.require("num_rows", num_rows, 1, (1 << 32) - 1)
        if seed is not None:
            self.require("seed", seed, 0, (1 << 32) - 1)
        if seed == _TRAP:
            warnings.warn(
                f"MurmurTable '{name}': seed={_TRAP} sends id 0 four times to row 0; take another, unless the rows "
                "come from spaCy.",
                stacklevel=2,
            )
        self.num_rows = num_rows
        self.init_std = init_std
        self.register_constants(seed=[_seed_of(name) if seed is None else seed], num_buckets=[num_rows])

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix, read four times."""
        row_std = self.init_std / math.sqrt(_WORDS)
        return (PhysicalTable(self.name, self.num_rows, self.embedding_dim, row_std),) * _WORDS

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The four words of one hash, each modulo the number of rows."""
        return torch.cat(murmur3_words(ids, constants["seed"]), dim=-2) % constants["num_buckets"]

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """Sum of the four rows."""
        return rows.unflatten(-1, (_WORDS, self.embedding_dim)).sum(-2)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows: hashes do not depend on the number of ids."""
        sizes = {"num_rows": self.num_rows, "budget_bytes": None, "budget_fraction": None}
        return {"num_embeddings": num_embeddings, **sizes}

    def expected_collisions(self) -> float:
        """Ids expected to add up the same rows as one before them."""
        return expected_sum_collisions(self.num_embeddings, self.num_rows, _WORDS)


def _seed_of(name: str) -> int:
    """A seed in [0, 2**32) of a name, other than the one that sends id 0 four times to one row."""
    probe = 0
    while (seed := name_seed(name, probe) & ((1 << 32) - 1)) == _TRAP:
        probe += 1
    return seed
