"""Codes by residual k-means: the nearest centre of every level, and the next level clusters what is left.

It needs no training loop and cannot collapse, and matches RQ-VAE within a few percent in reproductions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

from recsys.prepare.semantic.codes import Codes
from recsys.prepare.semantic.content import Matrix, Vectors
from recsys.prepare.semantic.quantiser_checks import check_sizes, check_values, checked_matrix

BLOCK_ROWS = 1 << 15
_BATCH_ROWS, _PASSES = 1 << 13, 50


@dataclass(frozen=True)
class Codebooks:
    """Centres of every level.

    Args:
        centres: float32 [L, K, T].
        mean: [T] of the vectors, taken off first.
    """

    centres: NDArray[np.float32]
    mean: NDArray[np.float32]

    def codes(self, vectors: Vectors) -> Codes:
        """The nearest centre of each level, of each item.

        Raises:
            ValueError: if the vectors are not finite, or of another width.
        """
        given = checked_matrix("Codebooks.codes", vectors.values, len(self.mean))
        values = np.empty((len(given), len(self.centres)), dtype=np.int64)
        for start in range(0, len(values), BLOCK_ROWS):
            left = given[start : start + BLOCK_ROWS] - self.mean
            for level, centres in enumerate(self.centres):
                values[start : start + BLOCK_ROWS, level] = own = nearest(left, centres)
                left = left - centres[own]
        return Codes(vectors.items, values, self.centres.shape[1])

    def rebuilt(self, values: NDArray[np.int64]) -> Matrix:
        """The vectors [M, T] that codes [M, L] stand for.

        Raises:
            ValueError: if they are no codes of these books.
        """
        check_values("Codebooks.rebuilt", values, *self.centres.shape[:2])
        total = np.repeat(self.mean[None], len(values), axis=0)
        for centres, codes in zip(self.centres, values.T, strict=True):
            total += centres[codes]
        return total

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What it is made of, for a file."""
        return {"centres": self.centres, "mean": self.mean}

    @staticmethod
    def of_arrays(arrays: Mapping[str, NDArray[Any]]) -> Codebooks:
        """What gave these."""
        return Codebooks(arrays["centres"], arrays["mean"])


def fit_residual_kmeans(vectors: Matrix, num_levels: int, num_codes: int, seed: int) -> Codebooks:
    """Centres by mini-batch k-means (scikit-learn), one level after the other.

    Raises:
        ValueError: if the vectors are no finite matrix, a size is below 1, or there are fewer vectors than codes.
    """
    vectors = checked_matrix("fit_residual_kmeans", vectors)
    check_sizes("fit_residual_kmeans", num_levels=num_levels, num_codes=num_codes)
    if len(vectors) < num_codes:
        raise ValueError(f"--codes: {num_codes} centres need as many items with content, there are {len(vectors)}.")
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    left = vectors - mean
    books = []
    for level in range(num_levels):
        kmeans = MiniBatchKMeans(
            num_codes, batch_size=_BATCH_ROWS, max_iter=_PASSES, n_init=1, random_state=seed + level
        ).fit(left)
        centres = np.ascontiguousarray(kmeans.cluster_centers_, dtype=np.float32)
        books.append(centres)
        for start in range(0, len(left), BLOCK_ROWS):
            block = left[start : start + BLOCK_ROWS]
            block -= centres[nearest(block, centres)]
    return Codebooks(np.stack(books), mean)


def nearest(vectors: Matrix, centres: Matrix) -> NDArray[np.int64]:
    """Place of the nearest centre [N] of vectors [N, T]; of equally near ones the first."""
    distances = (centres * centres).sum(axis=1) - 2 * (vectors @ centres.T)
    return distances.argmin(axis=1)
