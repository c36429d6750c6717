"""Product quantisation while training: whole rows beside codebooks, served as codes and codebooks."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.tables.base import Constants, Table
from recsys.tables.centroid_fit import fit_centroids
from recsys.tables.codebook import CodebookTable, codes_dtype, require_parts
from recsys.tables.nearest import nearest
from recsys.tables.numbers import check_number
from recsys.tables.physical import PhysicalTable, named_generator
from recsys.tables.programs import can_be_looked_at
from recsys.tables.routing.hashes import name_seed
from recsys.tables.upkeep import Rows

_SAMPLES = 4096
"""Rows whose nearest centroids are measured, to start with the deviation asked for."""
_BLOCK = 1 << 16
"""Ids that are encoded at a time."""


class ProductQuantizedTable(Table):
    """An id's row is cut into num_parts pieces, and each is replaced by the nearest of num_choices centroids.

    The row learns as if it had not been replaced (straight-through), the centroids learn from what is made of them, and
    a penalty pulls each to the other. Once trained, rows are of no use: `served` is a CodebookTable.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        num_parts: pieces of a row, and codes per id; None takes 4, or the largest number below that D is a multiple of.
        num_choices: centroids of each piece, at least 2 and at most 32768.
        penalty_weight: see DPQTable.
        commitment: see DPQTable.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if D is no multiple of num_parts, or a number is out of range.
    """

    linear = False
    repeats_cost = True

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_parts: int | None,
        num_choices: int,
        penalty_weight: float,
        commitment: float,
        init_std: float,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        if num_parts is None:
            num_parts = next(parts for parts in (4, 3, 2, 1) if embedding_dim % parts == 0)
        require_parts(self, num_parts)
        self.require("num_choices", num_choices, 2, 1 << 15)
        for argument, value in {"penalty_weight": penalty_weight, "commitment": commitment}.items():
            check_number(f"{type(self).__name__} '{name}'", argument, value)
        self.num_parts, self.num_choices = num_parts, num_choices
        self.penalty_weight, self.commitment, self.init_std = penalty_weight, commitment, init_std

    @abstractmethod
    def restricted(self, ids: Tensor, constants: Constants) -> tuple[Tensor, int] | None:
        """Ids that may choose among the first centroids alone, [N, G] -> [N, G], and how many; or None."""

    def draw_centroids(self) -> None:
        """Centroids in pairs of opposite ones, and the deviation of rows with which the nearest have the one asked for.

        Rows and centroids scale together, so that which one is nearest does not depend on the scale.
        """
        generator = named_generator(f"{self.name}/centroids")
        half = torch.empty(self.num_parts, (self.num_choices + 1) // 2, self.embedding_dim // self.num_parts)
        half.uniform_(-1, 1, generator=generator)
        centroids = torch.stack([half, -half], 2).flatten(1, 2)[:, : self.num_choices].clone()
        rows = torch.empty(_SAMPLES, 1, self.embedding_dim).uniform_(-1, 1, generator=generator)
        ids = torch.arange(_SAMPLES).unsqueeze(1) * max(1, self.num_embeddings // _SAMPLES) % self.num_embeddings
        self.centroids = nn.Parameter(centroids)
        if centroids.is_meta:
            self.row_std: float = self.built_again().row_std
            return
        with torch.no_grad():
            scale = self.init_std / max(float(self.vectors_of(rows.squeeze(1), ids.squeeze(1)).std()), 1e-12)
            self.centroids.mul_(scale)
        self.row_std = scale / math.sqrt(3)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix, V x D."""
        return (PhysicalTable(self.name, self.num_embeddings, self.embedding_dim, self.row_std),)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id is the row."""
        return ids

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """The nearest centroids, with their own gradient and, unchanged, that of the row."""
        centroids = parameters["centroids"]
        codes = self._codes(rows, centroids, ids, constants)
        num_tables = centroids.shape[0]
        first = torch.arange(num_tables * self.num_parts, device=rows.device) * self.num_choices
        places = codes + first.view(num_tables, self.num_parts)
        # A CPU adds up gradients of index_select several times as fast; a GPU those of an embedding, in a fixed order.
        values = centroids.flatten(0, 2)
        if rows.device.type == "cpu":
            chosen = values.index_select(0, places.flatten()).view(*places.shape, values.shape[1])
        else:
            chosen = F.embedding(places, values)
        chosen = chosen.flatten(-2).to(rows.dtype)
        return chosen + (rows - rows.detach())

    def _codes(self, rows: Tensor, centroids: Tensor, ids: Tensor, constants: Constants) -> Tensor:
        """Which centroids are nearest, of those that an id may choose among.

        Shape:
            rows [N, G, D], centroids [G, P, C, D / P], ids [N, G] -> [N, G, P]
        """
        restricted = self.restricted(ids, constants)
        if restricted is None or restricted[1] == self.num_choices:
            return nearest(rows, centroids)[0]
        is_restricted, num_first = restricted
        codes, values = nearest(rows, centroids[:, :, :num_first])
        if not can_be_looked_at(rows):
            return torch.where(is_restricted.unsqueeze(-1), codes, nearest(rows, centroids)[0])
        # In each column, those that are not restricted come first, and no more places than the column with most has.
        most = int((~is_restricted).sum(0).amax()) if is_restricted.numel() else 0
        head = is_restricted.to(torch.int8).argsort(dim=0, stable=True)[:most].unsqueeze(-1)
        found, found_values = nearest(rows.gather(0, head.expand(-1, -1, rows.shape[2])), centroids[:, :, num_first:])
        of_head = head.expand_as(found)
        keeps_first = is_restricted.unsqueeze(-1).gather(0, head) | (values.gather(0, of_head) <= found_values)
        return codes.scatter(0, of_head, torch.where(keeps_first, codes.gather(0, of_head), found + num_first))

    def penalty(self, rows: Tensor, vectors: Tensor, parameters: Mapping[str, Tensor]) -> Tensor | None:
        """The squared distance of row and centroids, as it moves each of them."""
        if not self.penalty_weight:
            return None
        # Without the gradient that passes through to the row.
        chosen = vectors - (rows - rows.detach())
        moved = (chosen - rows.detach()).square().sum(-1)
        committed = (chosen.detach() - rows).square().sum(-1)
        return self.penalty_weight * (moved + self.commitment * committed)

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Rows are the vectors, and centroids those of k-means in each part."""
        rows[self.name][ids] = vectors
        found = self.restricted(ids.unsqueeze(1), self._own_constants(0))
        restricted = None if found is None else (found[0].squeeze(1), found[1])
        for part, points in enumerate(vectors.unflatten(1, (self.num_parts, -1)).unbind(1)):
            seed = name_seed(self.name, part)
            self.centroids[part] = fit_centroids(points.contiguous(), self.num_choices, restricted, seed)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """A row more for each id, and the same centroids."""
        return {"num_embeddings": num_embeddings}

    @torch.no_grad()
    def served(self, rows: Rows) -> tuple[Table, dict[str, Tensor]]:
        """The codes of all ids, and the centroids."""
        device = self.centroids.device
        codes = torch.empty(self.num_parts, self.num_embeddings, dtype=codes_dtype(self.num_choices), device=device)
        for start in range(0, self.num_embeddings, _BLOCK):
            ids = torch.arange(start, min(start + _BLOCK, self.num_embeddings), device=device)
            values = rows.read_rows(self.name, ids).unsqueeze(1)
            found = self._codes(values, self.centroids.unsqueeze(0), ids.unsqueeze(1), self._own_constants(0))
            codes[:, start : start + len(ids)] = found.squeeze(1).t()
        table = CodebookTable(
            self.name,
            self.num_embeddings,
            self.embedding_dim,
            num_parts=self.num_parts,
            num_choices=self.num_choices,
            codes=codes,
            init_std=self.init_std,
        )
        return table, {self.name: self.centroids.detach().flatten(0, 1)}

    def served_bytes(self) -> int:
        """Codes and centroids."""
        code_bytes = self.num_parts * self.num_embeddings * codes_dtype(self.num_choices).itemsize
        return code_bytes + 4 * self.num_choices * self.embedding_dim
