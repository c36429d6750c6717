"""Vectors of short texts without a language model: TF-IDF of words, projected on its leading singular vectors."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

MAX_WORDS = 4096
NUM_POWER_ITERATIONS = 4
OVERSAMPLING = 10


def text_vectors(texts: pl.Series, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors [M, dim] of texts; zeros for a text without a known word.

    Words of two texts or more count, the most common 4,096 of them. The singular vectors come from a randomised range
    finder (Halko et al., 2011, algorithm 4.4).

    Raises:
        ValueError: dim is not in [1, number of words that count].
    """
    words = _words(texts)
    num_words = int(words["word"].max() or -1) + 1 if len(words) else 0
    if not 1 <= dim <= min(num_words, len(texts)):
        raise ValueError(f"--text-dim must be in [1, {min(num_words, len(texts))}] for these texts, got {dim}.")
    weights = np.zeros((len(texts), num_words), np.float32)
    weights[words["row"].to_numpy(), words["word"].to_numpy()] = words["weight"].to_numpy()
    weights /= np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)
    vectors = weights @ _leading_directions(weights, dim, seed)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return vectors.astype(np.float32)


def _words(texts: pl.Series) -> pl.DataFrame:
    """Row, word and TF-IDF weight of every word that counts; words are numbered by falling document frequency."""
    tokens = texts.fill_null("").str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+")
    frame = tokens.to_frame("token").with_row_index("row").explode("token").drop_nulls()
    counts = frame.group_by("row", "token", maintain_order=True).len("count")
    documents = counts.group_by("token", maintain_order=True).len("documents").filter(pl.col("documents") >= 2)
    documents = documents.sort("documents", descending=True, maintain_order=True).head(MAX_WORDS).with_row_index("word")
    rarity = (pl.lit(len(texts)) / pl.col("documents")).log()
    weight = (1 + pl.col("count").log()) * rarity
    return counts.join(documents, on="token", maintain_order="left").select("row", "word", weight=weight)


def _leading_directions(weights: NDArray[np.float32], dim: int, seed: int) -> NDArray[np.float32]:
    """Leading right singular vectors [num_words, dim], each with its largest entry positive."""
    width = min(dim + OVERSAMPLING, *weights.shape)
    sample = np.random.default_rng(seed).standard_normal((weights.shape[1], width), dtype=np.float32)
    basis = np.linalg.qr(weights @ sample)[0]
    for _ in range(NUM_POWER_ITERATIONS):
        basis = np.linalg.qr(weights @ np.linalg.qr(weights.T @ basis)[0])[0]
    directions = np.linalg.svd(basis.T @ weights, full_matrices=False)[2][:dim].T
    largest = directions[np.abs(directions).argmax(0), np.arange(dim)]
    return np.where(largest < 0, -1, 1).astype(np.float32) * directions
