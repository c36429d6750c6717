"""Semantic ids as a table: an item's vector is the sum of rows that it shares with items of like content."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from recsys.tables.adaptations import Adaptation, Prefixes
from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Bytes, Fraction, budget_of, exactly_one
from recsys.tables.item_codes import CodeSource, ItemCodes, StoredCodes, packed, trained_lengths
from recsys.tables.item_counts import counts_of_ids
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.hashes import bucket, mix64, name_seed

NUM_SPECIAL_ROWS = 2
"""The row of id 0 where it has no codes, rare, unseen and missing items, and that of other ids without codes."""

_BLOCK_IDS = 1 << 20


class SemanticIdTable(Table):
    """Rows of pieces of an item's codes, summed: items never trained read rows that others have trained.

    Sources: Singh et al., "Better generalization with semantic ids" (RecSys 2024), arXiv:2306.08121; Zheng et al.,
    "Enhancing embedding representation stability in recommendation systems with semantic id" (2025), arXiv:2504.02137.

    Shape:
        ids [N] -> embeddings [N, D]; memory num_rows rows of D, and L codes and a byte for each id, and with
        `precompute` four bytes for each of its pieces.

    Differs from the papers: pieces that do not all have a row are hashed to one, where the second takes a remainder,
    which for prefixes forgets the first codes; ids without codes have rows of their own, and of two kinds; with
    `counts`, prefixes that training does not have are left out. Codes are kept with the checkpoint: loading refuses
    others, or more or fewer, for an id that had some, and lets ids without any have theirs.

    Args:
        name: feature or table name; it seeds the hashes.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        codes: where ids' codes come from; or a tensor [L, V], -1 from where an id has none.
        adaptation: which runs of codes have a row; by default all Prefixes.
        counts: the Parquet file (id, count) of how often each id is in the training data, counts/NAME.parquet; or [V].
            With Prefixes, an id's codes then count as far as an id of training has them: no row is read that is another
            prefix's alone, or nobody's. By default all of them count.
        num_rows: rows of the matrix, two of them of ids without codes; where there are fewer than pieces, pieces are
            hashed to them. By default one for each piece; or give one of:
        budget_bytes: bytes that matrix and codes may take.
        budget_fraction: the same as a fraction of the full table's bytes.
        init_std: standard deviation of the initial vectors of ids with codes, on average over them.
        precompute: keep the row number of each piece of each id, instead of making it of the codes in every step.
        lengths: with a tensor of codes, [V] how many of its codes count for an id, instead of -1.
        num_codes: with a tensor of codes, K, instead of its largest code and one.

    Raises:
        ValueError: if codes or counts cannot be read or do not fit the adaptation, or several sizes are given.
    """

    sums = True
    leaves_out = True
    reconciled = frozenset({"codes", "lengths"})
    sizes = Table.sizes | {"codes", "counts", "lengths", "num_codes"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        codes: CodeSource | Tensor,
        adaptation: Adaptation | None = None,
        counts: str | Tensor | None = None,
        num_rows: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        init_std: float = DEFAULT_INIT_STD,
        precompute: bool = False,
        lengths: Tensor | None = None,
        num_codes: int | None = None,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.adaptation = adaptation or Prefixes()
        self.init_std = init_std
        self.precompute = precompute
        with torch.device("cpu"):  # what is read has values, also where rows are to have none yet
            found = self._codes_of(codes, lengths, num_codes)
            found = found if counts is None else self._trained(found, counts, codes)
        self.awaits_checkpoint = isinstance(codes, StoredCodes)
        self.num_levels, self.num_codes = len(found.codes), found.num_codes
        needs = self._needs()
        self.register_per_id(codes=found.codes, lengths=found.lengths)
        # What a checkpoint says of this table; the codes are in its buffers, wherever they came from.
        self.arguments |= {
            "codes": self.get_buffer("codes"),
            "lengths": self.get_buffer("lengths"),
            "num_codes": self.num_codes,
            "counts": None,
        }
        self.num_rows = self._size(num_rows, budget_bytes, budget_fraction)
        self.is_exact = self.num_rows == self._most_rows
        self._mean_lookups = _mean_lookups(found.lengths, needs)
        hashed_by = name if self.is_exact else f"{name}/pieces"
        seeds = [name_seed(hashed_by, probe) for probe in self.adaptation.seeds(len(needs))]
        self.register_constants(
            seed=seeds, needs=needs, num_symbols=[self.num_codes], special_row=[self.num_rows - NUM_SPECIAL_ROWS]
        )
        if precompute:
            self.register_per_id(pieces=self._pieces_of(found.codes, found.lengths))

    def _codes_of(self, codes: CodeSource | Tensor, lengths: Tensor | None, num_codes: int | None) -> ItemCodes:
        owner = f"SemanticIdTable '{self.name}'"
        if isinstance(codes, Tensor):
            return packed(owner, self.given_again(codes), lengths, num_codes)
        if lengths is not None or num_codes is not None:
            raise ValueError(f"{owner}: lengths and num_codes go with a tensor of codes; {codes} has its own.")
        return codes.load(owner, self.num_embeddings)

    def _trained(self, found: ItemCodes, counts: str | Tensor, codes: CodeSource | Tensor) -> ItemCodes:
        owner = f"SemanticIdTable '{self.name}'"
        if not isinstance(self.adaptation, Prefixes):
            raise ValueError(f"{owner}: counts go with Prefixes, got {self.adaptation}; leave them out.")
        if isinstance(codes, StoredCodes):
            raise ValueError(f"{owner}: counts have been heard in the codes of a checkpoint; leave them out.")
        known = counts_of_ids(owner, counts, self.num_embeddings)
        return replace(found, lengths=trained_lengths(found.codes, found.lengths, known > 0))

    def _needs(self) -> list[int]:
        try:
            return self.adaptation.needs(self.num_levels)
        except ValueError as error:
            raise ValueError(f"SemanticIdTable '{self.name}': {error}") from None

    @property
    def _most_rows(self) -> int:
        return self.adaptation.num_keys(self.num_levels, self.num_codes) + NUM_SPECIAL_ROWS

    def _size(self, num_rows: int | None, budget_bytes: Bytes | None, budget_fraction: Fraction | None) -> int:
        given = {"num_rows": num_rows, "budget_bytes": budget_bytes, "budget_fraction": budget_fraction}
        if any(value is not None for value in given.values()):
            exactly_one(f"SemanticIdTable '{self.name}'", **given)
        smallest, most = NUM_SPECIAL_ROWS + 1, self._most_rows
        budget = budget_of(self, budget_bytes, budget_fraction)
        if budget is not None:
            kept_bytes = self.own_bytes() + 4 * len(self._needs()) * self.num_embeddings * self.precompute
            num_rows = budget.largest(
                lambda rows: kept_bytes + 4 * rows * self.embedding_dim, smallest, min(most, 1 << 31)
            )
        if num_rows is None:
            if most > 1 << 31:
                raise ValueError(
                    f"SemanticIdTable '{self.name}': one row for each piece would be {most} rows, of at most "
                    f"{1 << 31}; give num_rows or a budget, and pieces are hashed."
                )
            return most
        self.require("num_rows", num_rows, smallest, 1 << 31)
        return min(num_rows, most)

    def signature(self) -> tuple[object, ...]:
        """Tables route alike whose codes have one shape and dtype, all hashed or none."""
        return (*super().signature(), self.num_levels, self.is_exact, self.listed_dtype("codes"))

    def reads_as(self) -> str:
        """See KeptState."""
        return f"rows of {type(self.adaptation).__name__}"

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix, read for every piece."""
        row_std = self.init_std / math.sqrt(self._mean_lookups)
        matrix = PhysicalTable(self.name, self.num_rows, self.embedding_dim, row_std)
        return (matrix,) * len(self._needs())

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """A row for every piece; where an id has no piece at all, one of its kind in place of the first."""
        if self.precompute:
            pieces: Tensor = constants["pieces"](ids)
            return pieces.long()
        return self._rows(constants["codes"](ids), constants["lengths"](ids), ids, constants)

    def _pieces_of(self, codes: Tensor, lengths: Tensor) -> Tensor:
        """The rows int32 [P, V] of all ids, whose codes are [L, V] and lengths [V]."""
        # From the settings: a table that was made without memory has no constants yet when its codes are loaded.
        derived = {name: torch.tensor(values) for name, values in self._unchanging.values.items()}
        constants = {name: value.unsqueeze(-1).to(codes.device) for name, value in derived.items()}
        blocks = torch.arange(self.num_embeddings, device=codes.device).split(_BLOCK_IDS)
        rows = [self._rows(codes[:, ids], lengths[ids].unsqueeze(0), ids.unsqueeze(0), constants) for ids in blocks]
        return torch.cat([each.to(torch.int32) for each in rows], dim=-1)

    def _rows(self, codes: Tensor, lengths: Tensor, ids: Tensor, constants: Constants) -> Tensor:
        """See route: codes [..., L, N], lengths and ids [..., 1, N] -> rows [..., P, N]."""
        codes, special = codes.long(), constants["special_row"]
        rows = self.adaptation.keys(codes, constants["num_symbols"], self.is_exact)
        if not self.is_exact:
            rows = bucket(rows, constants["seed"], special)
        has = lengths >= constants["needs"]
        rows = torch.where(has, rows, -1)
        first = rows.narrow(-2, 0, 1)
        first.copy_(torch.where(has.narrow(-2, 0, 1), first, special + (ids != 0)))
        return rows

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """Sum of the rows."""
        return rows.unflatten(-1, (-1, self.embedding_dim)).sum(-2)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows; new ids have no codes."""
        codes, lengths = self.listed("codes"), self.get_buffer("lengths")
        number = num_embeddings - self.num_embeddings
        return {
            "num_embeddings": num_embeddings,
            "codes": torch.cat([codes, codes.new_zeros(len(codes), number)], 1),
            "lengths": torch.cat([lengths, lengths.new_zeros(number)]),
            "num_rows": self.num_rows,
            "budget_bytes": None,
            "budget_fraction": None,
        }

    def expected_collisions(self) -> float:
        """Ids that read the same rows as one before them: counted, since which they are is known."""
        return float(self.num_embeddings - len(self.likeness().unique()))

    def likeness(self) -> Tensor:
        """A number of the rows that an id reads, in any order."""
        device = self.get_buffer("codes").device
        places = torch.arange(len(self._needs()), device=device).unsqueeze(1)
        blocks = torch.arange(self.num_embeddings, device=device).split(_BLOCK_IDS)
        return torch.cat([mix64(self.rows_of(ids).sort(0).values + 1, places).sum(0) for ids in blocks])

    def num_without_codes(self) -> int:
        """Ids that have none, id 0 among them if so."""
        return int((self.get_buffer("lengths") == 0).sum())

    def extra_repr(self) -> str:
        """The sizes, the adaptation and how many ids have codes."""
        have = self.num_embeddings - self.num_without_codes()
        return f"{super().extra_repr()}, {self.adaptation}, {have} ids with {self.num_levels} of {self.num_codes} codes"

    def reconcile(self, state: dict[str, Tensor]) -> list[str]:
        """Refuse other codes for ids that had some; ids without any keep what they have here."""
        said = self._reconcile_codes(state)
        if (
            self.precompute
            and {"codes", "lengths"} <= state.keys()
            and state["codes"].shape == self.listed("codes").shape
        ):
            state["pieces"] = self._pieces_of(state["codes"], state["lengths"])
        return said

    def _reconcile_codes(self, state: dict[str, Tensor]) -> list[str]:
        codes, lengths = state.get("codes"), state.get("lengths")
        mine, own = self.listed("codes"), self.get_buffer("lengths")
        if codes is None or lengths is None or codes.shape != mine.shape or own.is_meta or not bool(own.any()):
            return []
        codes, lengths = codes.to(mine.device), lengths.to(own.device)
        differs = (lengths > 0) & ((lengths != own) | (codes != mine).any(0))
        state |= {"codes": mine, "lengths": own}
        if not bool(differs.any()):
            return []
        return [
            f"SemanticIdTable '{self.name}': {int(differs.sum())} ids have other codes in the checkpoint than here, "
            f"the first is {int(differs.nonzero()[0])}; give the codes that it was trained with, or "
            f"StoredCodes(num_levels={self.num_levels}, num_codes={self.num_codes})."
        ]


def _mean_lookups(lengths: Tensor, needs: list[int]) -> float:
    """Rows that ids with codes read, on average over them."""
    counts = torch.bincount(lengths.long(), minlength=max(needs) + 1).tolist()
    reads = [sum(need <= length for need in needs) for length in range(len(counts))]
    num_reading = sum(count for count, read in zip(counts, reads, strict=True) if read)
    total = sum(count * read for count, read in zip(counts, reads, strict=True))
    return total / num_reading if num_reading else float(len(needs))
