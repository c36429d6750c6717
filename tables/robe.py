"""Random offset block embedding (ROBE-Z): an id's vector is made of windows of one array that all features share.

Source: Desai, Chou and Shrivastava, "Random offset block embedding array (ROBE) for CriteoTB benchmark MLPerf DLRM
model" (MLSys 2022), arXiv:2108.02191.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants
from recsys.tables.budget import Bytes, Fraction
from recsys.tables.least_squares import fit_linear
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.hashes import bucket, expected_collisions, mix64, name_seeds
from recsys.tables.sharing import SharingTable

_SIGNS_PER_WORD = 64


class RobeTable(SharingTable):
    """The vector is cut into num_chunks chunks of Z values; each is a window of an array, where a hash of the id says.

    The array is kept as rows of Z values. A window that begins within a row takes the rest of it and the beginning of
    the next, so that a chunk reads two rows; aligned windows are whole rows, which halves what is read and gives up the
    random offsets.

    Shape:
        ids [N] -> embeddings [N, D]; memory num_rows rows of Z = D / num_chunks values, shared by all tables of one
        `storage`.

    Differs from the paper: the hash is splitmix64 seeded by the feature's name and the number of the chunk, where the
    authors' linear hash needs ids numbered through all features; Z divides D.

    Args:
        name: feature name; it seeds the hashes.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D, a multiple of num_chunks.
        num_rows: rows of Z values that make up the array; or give
        budget_bytes: bytes the array may take in float32; or
        budget_fraction: the same as a fraction of the bytes of all full tables that the array replaces: in a
            collection, the shares of the tables of one `storage` add up.
        num_chunks: chunks of a vector; the paper's block size Z is D / num_chunks, 8 to 128 there.
        aligned: windows begin where rows do.
        signed: a second hash gives each value a sign, so that values that share a place do not agree.
        storage: name of the array; tables with one storage share it.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: unless exactly one size is given, if it is below one row, or if D is no multiple of num_chunks.
    """

    linear = False
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
        num_chunks: int = 2,
        aligned: bool = False,
        signed: bool = False,
        storage: str = "robe",
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.require("num_chunks", num_chunks, 1, embedding_dim, "embedding_dim")
        if embedding_dim % num_chunks:
            raise ValueError(
                f"RobeTable '{name}': embedding_dim={embedding_dim} must be a multiple of num_chunks={num_chunks}."
            )
        self.num_chunks, self.aligned, self.signed = num_chunks, aligned, signed
        chunk_dim = embedding_dim // num_chunks
        most = (1 << 31) // (1 if aligned else chunk_dim)
        self.share(num_rows, budget_bytes, budget_fraction, chunk_dim, storage, init_std, max_rows=most)
        places = self.num_rows if aligned else (self.num_rows - 1) * chunk_dim + 1
        # A chunk has a place for each row that it reads, one or two of the same.
        reads = 1 if aligned else 2
        seeds = name_seeds(name, 2 * num_chunks)
        self.register_constants(
            seed=[seed for seed in seeds[:num_chunks] for _ in range(reads)],
            num_buckets=[places] * (num_chunks * reads),
            step=[step for _ in range(num_chunks) for step in range(reads)],
            sign_seed=[seed for seed in seeds[num_chunks:] for _ in range(reads)],
        )

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """The array, read once or twice for a chunk.

        Raises:
            ValueError: if its budget, or all shares of it, are less than a row.
        """
        return (self.shared_matrix(),) * (self.num_chunks * (1 if self.aligned else 2))

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The rows that each chunk's window touches; where it touches one, that one twice."""
        places = bucket(ids, constants["seed"], constants["num_buckets"])
        if self.aligned:
            return places
        return places // self.row_dim + constants["step"] * (places % self.row_dim != 0)

    def reads_as(self) -> str:
        """See KeptState."""
        return "chunks times their signs" if self.signed else "chunks as they are"

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """The windows side by side, with their signs."""
        ids = ids.unsqueeze(-1)
        vectors = rows.unflatten(-1, (self.num_chunks, -1))
        if not self.aligned:
            first = slice(None, None, 2)
            places = bucket(ids, constants["seed"][..., first], constants["num_buckets"][..., first])
            values = (places % self.row_dim).unsqueeze(-1) + torch.arange(self.row_dim, device=ids.device)
            vectors = vectors.gather(3, values)  # ONNX counts from the front
        if self.signed:
            vectors = vectors * self._signs(ids, constants["sign_seed"]).to(rows.dtype)
        return vectors.flatten(-2)

    def _signs(self, ids: Tensor, seeds: Tensor) -> Tensor:
        """Ids [N, G, 1] -> [N, G, num_chunks, Z] of -1 and 1, a bit of a hash for each."""
        hashes = mix64(ids, seeds if self.aligned else seeds[..., ::2]).unsqueeze(-1)
        value = torch.arange(self.row_dim, device=ids.device)
        words = mix64(hashes, torch.arange(-(-self.row_dim // _SIGNS_PER_WORD), device=ids.device))
        # By name: of `>>` by a tensor torch makes no ONNX.
        bits = torch.bitwise_right_shift(words.index_select(-1, value // _SIGNS_PER_WORD), value % _SIGNS_PER_WORD)
        return 2 * (bits & 1) - 1

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Least squares: windows are linear in the rows, whatever their ids."""
        fit_linear(self, vectors, ids, rows)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows: hashes do not depend on the number of ids."""
        sizes = {"num_rows": self.num_rows, "budget_bytes": None, "budget_fraction": None}
        return {"num_embeddings": num_embeddings, **sizes}

    def expected_collisions(self) -> float:
        """Ids of this feature expected to take all their windows where an earlier id of it does, signs aside."""
        places = self.num_rows if self.aligned else (self.num_rows - 1) * self.row_dim + 1
        return expected_collisions(self.num_embeddings, [places] * self.num_chunks)
