"""Deep hash embedding: vectors computed from many hashes of the id by a small network, without any row.

Source: Kang et al., "Learning to embed categorical features without embedding tables for recommendation" (KDD 2021),
arXiv:2010.10784.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Bytes, Fraction, size_or_budget
from recsys.tables.physical import PhysicalTable, named_generator
from recsys.tables.routing.hashes import hashed_uniform, mix64, name_seed

_SAMPLES = 4096
"""Ids whose vectors are measured, to start with the deviation asked for."""


class DeepHashTable(Table):
    """Each id is encoded as num_hashes numbers in [-1, 1) and decoded to its vector by an MLP of the table's own.

    There are no rows: a step costs the MLP for every id of the batch, which is many times what reading a row costs.

    Shape:
        ids [N] -> embeddings [N, D]; memory the MLP: num_hashes x hidden_dim, num_hidden - 1 times hidden_dim squared,
        hidden_dim x D, and biases.

    Differs from the paper: numbers come from splitmix64 seeded by the feature's name and the number of the hash, all 24
    upper bits of it, where the authors hash into 10**6 buckets; no batch normalisation, so that a vector does not
    depend on the other ids of a batch; the last layer starts so that vectors have the deviation asked for.

    Args:
        name: feature or table name; it seeds the hashes.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        hidden_dim: width of the hidden layers; or give one of:
        budget_bytes: bytes the MLP may take in float32.
        budget_fraction: the same as a fraction of the full table's bytes.
        num_hashes: numbers that encode an id; the paper has 1024.
        num_hidden: hidden layers; the paper has 5.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: unless exactly one size is given, or if a budget does not buy a hidden width of 1.
    """

    linear = False
    repeats_cost = True

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        hidden_dim: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        num_hashes: int = 128,
        num_hidden: int = 2,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.require("num_hashes", num_hashes, 1)
        self.require("num_hidden", num_hidden, 1)
        self.num_hashes, self.num_hidden, self.init_std = num_hashes, num_hidden, init_std
        budget = size_or_budget(self, budget_bytes, budget_fraction, hidden_dim=hidden_dim)
        if budget is not None:
            hidden_dim = budget.largest(lambda width: 4 * self._num_values(width), 1, 1 << 16)
        assert hidden_dim is not None
        self.require("hidden_dim", hidden_dim, 1)
        self.hidden_dim = hidden_dim
        self.register_constants(seed=[name_seed(name)])
        self._make_layers()

    def _dims(self, hidden_dim: int) -> list[int]:
        return [self.num_hashes, *[hidden_dim] * self.num_hidden, self.embedding_dim]

    def _num_values(self, hidden_dim: int) -> int:
        dims = self._dims(hidden_dim)
        return sum((before + 1) * after for before, after in pairwise(dims))

    @torch.no_grad()
    def _make_layers(self) -> None:
        generator = named_generator(f"{self.name}/layers")
        dims = self._dims(self.hidden_dim)
        for layer, (before, after) in enumerate(pairwise(dims)):
            # He's deviation keeps the scale from layer to layer; the numbers that come in have variance 1/3.
            bound = math.sqrt(3) * math.sqrt((6 if layer == 0 else 2) / before)
            weight = torch.empty(before, after).uniform_(-bound, bound, generator=generator)
            self.register_parameter(f"weight{layer}", nn.Parameter(weight))
            self.register_parameter(f"bias{layer}", nn.Parameter(torch.zeros(after)))
        # Sampled by a hash, so that ids near each other do not meet.
        ids = (mix64(torch.arange(_SAMPLES)) & ((1 << 62) - 1)) % self.num_embeddings
        vectors = self.vectors_of(torch.zeros(_SAMPLES, 0), ids)
        scale = self.init_std / max(float((vectors - vectors.mean(0)).std()), 1e-12)
        last = len(dims) - 2
        self.get_parameter(f"weight{last}").mul_(scale)
        # Activations are mostly positive, and so is what they add up to: the mean begins at 0.
        self.get_parameter(f"bias{last}").copy_(-scale * vectors.mean(0))

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """None."""
        return ()

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same network: hashes do not depend on the number of ids."""
        return {
            "num_embeddings": num_embeddings,
            "hidden_dim": self.hidden_dim,
            "budget_bytes": None,
            "budget_fraction": None,
        }

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """The MLP of the id's numbers: one batched product per layer for the whole group."""
        hidden = hashed_uniform(ids, constants["seed"].squeeze(-1), self.num_hashes).to(rows.dtype).transpose(0, 1)
        for layer in range(self.num_hidden + 1):
            weight, bias = (parameters[f"{kind}{layer}"].to(rows.dtype) for kind in ("weight", "bias"))
            hidden = torch.baddbmm(bias.unsqueeze(1), hidden, weight)
            if layer < self.num_hidden:
                hidden = F.mish(hidden)
        return hidden.transpose(0, 1)
