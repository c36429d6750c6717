"""Frequency-adaptive embedding: frequent ids have rows of their own, the others share hashed rows.

Source: AdaptEmb of Zhang et al., "Experimental analysis of large-scale learnable vector storage compression" (VLDB
2024), arXiv:2311.15578, after the adaptive embeddings of DeepRec.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recsys.argument_types import typed
from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Bytes, Fraction, size_or_budget
from recsys.tables.physical import PhysicalTable
from recsys.tables.placement import check_dense
from recsys.tables.routing.hashes import bucket, expected_collisions, name_seed


@typed
def hot_rows(counts: Tensor, num_hot: int) -> Tensor:
    """The `rows` of an AdaptiveTable whose ids are not numbered by falling count.

    Args:
        counts: [V], how often the data have each id.
        num_hot: ids that get a row; of equally frequent ones those with smaller numbers.

    Returns: [V] int32, 0 for the most frequent id, 1 for the next, -1 for all beyond num_hot.

    Raises:
        ValueError: if num_hot is not in [1, V], or a count is negative or NaN.

    >>> hot_rows(torch.tensor([2, 9, 0, 9]), 3).tolist()
    [2, 0, -1, 1]
    """
    check_dense("hot_rows", "counts", counts)
    if counts.dim() != 1 or not bool((counts >= 0).all()):
        raise ValueError(f"hot_rows: counts must be numbers [V] of at least 0, got {counts}.")
    if not 1 <= num_hot <= len(counts):
        raise ValueError(f"hot_rows: num_hot must be in [1, len(counts)={len(counts)}], got {num_hot!r}.")
    rows = torch.full((len(counts),), -1, dtype=torch.int32)
    order = torch.argsort(counts, descending=True, stable=True)[:num_hot]
    rows[order] = torch.arange(num_hot, dtype=torch.int32)
    return rows


class AdaptiveTable(Table):
    """Of num_rows rows a part belongs to the most frequent ids, one each; all other ids are hashed into the rest.

    Shape:
        ids [N] -> embeddings [N, D]; memory num_rows rows of D and, with `rows`, 4 bytes per id.

    Differs from the paper: both parts are one matrix, where the authors add rows of two, one of which is zeros; which
    ids are frequent follows from their numbers, unless `rows` say it, where the authors keep a mapping always; the hot
    part is a share of the rows, where theirs is a share of the ids.

    Args:
        name: feature or table name; it seeds the hash.
        num_embeddings: V, ids are in [0, V); the most frequent first unless `rows` are given.
        embedding_dim: D.
        num_rows: rows of both parts; with V or more every id has its own; or give one of:
        budget_bytes: bytes that the matrix, in float32, and the mapping may take.
        budget_fraction: the same as a fraction of the full table's bytes.
        hot_fraction: share of the rows that belong to one id each, in (0, 1); not used with `rows`.
        rows: [V] int32, the row of each id or -1, numbered from 0 without gaps as `hot_rows` gives them; kept with the
            checkpoint.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: unless exactly one size is given; if no row would be left for ids without one of their own.
    """

    sizes = Table.sizes | {"rows", "hot_fraction"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_rows: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        hot_fraction: float = 0.5,
        rows: Tensor | None = None,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        if not 0 < hot_fraction < 1:
            raise ValueError(f"AdaptiveTable '{name}': hot_fraction must be in (0, 1), got {hot_fraction!r}.")
        given = None if rows is None else self._keep(rows)
        mapping_bytes = 0 if given is None else 4 * num_embeddings
        least = 1 if given is None else given + (given < num_embeddings)
        budget = size_or_budget(self, budget_bytes, budget_fraction, num_rows=num_rows)
        if budget is not None:
            most = max(least, num_embeddings)
            num_rows = budget.largest(lambda count: mapping_bytes + 4 * count * embedding_dim, least, most)
        assert num_rows is not None
        self.require("num_rows", num_rows, least, 1 << 31)
        self.num_hot = self._hot_of(num_rows, hot_fraction) if given is None else given
        self.num_rows = min(num_rows, num_embeddings)
        self.init_std = init_std
        # With a row for every id none are shared, and nothing is hashed; a bucket of one stands for none.
        num_shared = max(1, self.num_rows - self.num_hot)
        self.register_constants(seed=[name_seed(name)], num_buckets=[num_shared], first_shared=[self.num_hot])

    def _hot_of(self, num_rows: int, hot_fraction: float) -> int:
        return self.num_embeddings if num_rows >= self.num_embeddings else int(hot_fraction * num_rows)

    def _keep(self, rows: Tensor) -> int:
        """Keep the rows of each id; how many there are."""
        if rows.dim() != 1 or rows.dtype.is_floating_point or not len(rows):
            raise ValueError(
                f"AdaptiveTable '{self.name}': rows must be whole numbers [V], got {list(rows.shape)} of {rows.dtype}."
            )
        kept = rows[rows >= 0].sort().values
        if int(rows.min()) < -1 or not torch.equal(kept.long(), torch.arange(len(kept), device=kept.device)):
            raise ValueError(
                f"AdaptiveTable '{self.name}': rows must be -1 or numbers from 0 without gaps, each once, got "
                f"{len(kept)} of them in [{int(rows.min())}, {int(rows.max())}]."
            )
        self.register_per_id(rows=rows.to(torch.int32))
        return len(kept)

    def signature(self) -> tuple[object, ...]:
        """Tables with given rows route otherwise than those without."""
        return (*super().signature(), "rows" in self.per_id_names)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix: rows of one id each, then those that are shared."""
        return (PhysicalTable(self.name, self.num_rows, self.embedding_dim, self.init_std),)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id's own row, or a hashed one behind them."""
        first_shared = constants["first_shared"]
        own = constants["rows"](ids) if "rows" in constants else torch.where(ids < first_shared, ids, -1)
        return torch.where(own >= 0, own, first_shared + bucket(ids, constants["seed"], constants["num_buckets"]))

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows, and new ids that share them; or a row more for each id, if each has its own."""
        is_whole = self.num_hot == self.num_embeddings
        num_rows = num_embeddings if is_whole else self.num_rows
        sizes = {"num_rows": num_rows, "budget_bytes": None, "budget_fraction": None}
        if "rows" not in self.per_id_names:
            return {"num_embeddings": num_embeddings, **sizes}
        rows = self.get_buffer("rows")
        numbers = torch.arange(self.num_embeddings, num_embeddings, dtype=rows.dtype, device=rows.device)
        more = torch.cat([rows, numbers if is_whole else torch.full_like(numbers, -1)])
        return {"num_embeddings": num_embeddings, **sizes, "rows": more}

    def expected_collisions(self) -> float:
        """Ids without a row of their own expected to read that of one before them."""
        rest = self.num_embeddings - self.num_hot
        return expected_collisions(rest, [self.num_rows - self.num_hot]) if rest else 0.0
