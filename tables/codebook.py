"""Codebook tables: an id is a few codes, and its vector the codebooks' rows side by side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.physical import PhysicalTable
from recsys.tables.placement import INTEGERS
from recsys.tables.routing.hashes import bucket, expected_collisions, name_seeds


def codes_dtype(num_choices: int) -> torch.dtype:
    """The narrowest integers that hold codes in [0, num_choices)."""
    return torch.uint8 if num_choices <= 256 else torch.int16


class CodebookTable(Table):
    """Each id has num_parts codes; code c of part p stands for row c of codebook p; the rows are laid side by side.

    Source: product quantisation (Jégou, Douze and Schmid, TPAMI 2011); what DPQTable and MGQETable are served as.

    Shape:
        ids [N] -> embeddings [N, D]; memory num_parts * num_choices rows of D / num_parts and, with `codes`, num_parts
        codes per id, of a byte each up to 256 choices and of two bytes beyond.

    Args:
        name: feature or table name; without codes it seeds the hashes that stand in for them.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D, a multiple of num_parts.
        num_parts: codes per id.
        num_choices: rows of each codebook, at most 32768.
        codes: [num_parts, V] in [0, num_choices); kept with the checkpoint. None draws them by hashes of the id, which
            costs no memory.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if D is no multiple of num_parts, or codes have another shape or are out of range.
    """

    sizes = Table.sizes | {"num_choices", "codes"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_parts: int,
        num_choices: int,
        codes: Tensor | None = None,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        require_parts(self, num_parts)
        self.require("num_choices", num_choices, 1, 1 << 15)
        self.num_parts, self.num_choices, self.init_std = num_parts, num_choices, init_std
        if codes is not None:
            codes = self.given_again(codes)
            self._check(codes)
            self.register_per_id(codes=codes.to(codes_dtype(num_choices)))
        self.register_constants(
            seed=name_seeds(name, num_parts),
            num_buckets=[num_choices] * num_parts,
            first_row=[part * num_choices for part in range(num_parts)],
        )

    def _check(self, codes: Tensor) -> None:
        wanted = (self.num_parts, self.num_embeddings)
        if tuple(codes.shape) != wanted:
            raise ValueError(f"CodebookTable '{self.name}': codes must have shape {wanted}, got {tuple(codes.shape)}.")
        if codes.dtype not in INTEGERS:
            raise ValueError(f"CodebookTable '{self.name}': codes must be integers, got {codes.dtype}.")
        if int(codes.min()) < 0 or int(codes.max()) >= self.num_choices:
            raise ValueError(
                f"CodebookTable '{self.name}': codes must be in [0, num_choices={self.num_choices}), got "
                f"[{int(codes.min())}, {int(codes.max())}]."
            )

    def signature(self) -> tuple[object, ...]:
        """Tables with codes of every id route otherwise than those without, and codes are of one width."""
        kept = self.listed_dtype("codes") if "codes" in self.per_id_names else None
        return (*super().signature(), kept)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix of all codebooks, read once per part."""
        num_rows, row_dim = self.num_parts * self.num_choices, self.embedding_dim // self.num_parts
        return (PhysicalTable(self.name, num_rows, row_dim, self.init_std),) * self.num_parts

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The row of each part's code."""
        if "codes" in constants:
            codes = constants["codes"](ids).long()
        else:
            codes = bucket(ids, constants["seed"], constants["num_buckets"])
        return codes + constants["first_row"]

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same codebooks; new ids have hashed codes."""
        if "codes" not in self.per_id_names:
            return {"num_embeddings": num_embeddings}
        codes = self.listed("codes")
        ids = torch.arange(self.num_embeddings, num_embeddings, device=codes.device)
        seeds = self.get_buffer("seed").unsqueeze(1)
        more = bucket(ids, seeds, torch.full_like(seeds, self.num_choices)).to(codes.dtype)
        return {"num_embeddings": num_embeddings, "codes": torch.cat([codes, more], 1)}

    def expected_collisions(self) -> float:
        """Ids that have all codes in common with one before them; expected ones where codes are hashes."""
        if "codes" not in self.per_id_names:
            return expected_collisions(self.num_embeddings, [self.num_choices] * self.num_parts)
        return float(self.num_embeddings - len(self.listed("codes").unique(dim=1).t()))


def require_parts(table: Table, num_parts: int) -> None:
    """Refuse parts that D cannot be divided into.

    Raises:
        ValueError: naming the table.
    """
    table.require("num_parts", num_parts, 1, table.embedding_dim, "embedding_dim")
    if table.embedding_dim % num_parts:
        raise ValueError(
            f"{type(table).__name__} '{table.name}': embedding_dim={table.embedding_dim} must be a multiple of "
            f"num_parts, got {num_parts}."
        )
