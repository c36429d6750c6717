"""Vectors of short texts without a language model: TF-IDF of words, projected on its leading singular vectors."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

MAX_WORDS = 4096
NUM_POWER_ITERATIONS = 4
OVERSAMPLING = 10


def text_vectors(texts: pl.Series, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors [M, dim] of texts; zeros for a text without a word that counts.

    Words of two texts or more count, the most common 4,096 of them. The singular vectors come from a randomised range
    finder (Halko et al., 2011, algorithm 4.4).

    Raises:
        ValueError: no word counts, or dim is not in [1, number of words that count].
    """
    words = _words(texts)
    num_words = words["word"].n_unique()
    most = min(num_words, len(texts))
    if not most:
        raise ValueError("--text-dim: no word occurs in the texts of two items; name other columns of text.")
    if not 1 <= dim <= most:
        raise ValueError(f"--text-dim must be in [1, {most}] for these texts, got {dim}.")
    places = words["row"].to_numpy(), words["word"].to_numpy()
    weights = sparse.csr_array((words["weight"].to_numpy(), places), shape=(len(texts), num_words), dtype=np.float32)
    lengths = np.sqrt(weights.multiply(weights).sum(axis=1))
    weights = sparse.diags_array(1 / np.where(lengths > 0, lengths, 1), dtype=np.float32) @ weights
    return _unit(weights @ _leading_directions(weights, dim, seed)).astype(np.float32)


def _words(texts: pl.Series) -> pl.DataFrame:
    """Row, word and TF-IDF weight of every word that counts; words are numbered by falling document frequency."""
    tokens = texts.fill_null("").str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+").alias("token")
    frame = tokens.to_frame().with_row_index("row").explode("token").drop_nulls()
    counts = frame.group_by("row", "token", maintain_order=True).len("count")
    documents = counts.group_by("token", maintain_order=True).len("documents").filter(pl.col("documents") >= 2)
    documents = documents.sort("documents", descending=True, maintain_order=True).head(MAX_WORDS).with_row_index("word")
    rarity = (pl.lit(1 + len(texts)) / pl.col("documents")).log()
    weight = (1 + pl.col("count").log()) * rarity
    return counts.join(documents, on="token", maintain_order="left").select("row", "word", weight=weight)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def _leading_directions(weights: sparse.csr_array, dim: int, seed: int) -> NDArray[np.float32]:
    """Leading right singular vectors [num_words, dim], each with its largest entry positive."""
    width = min(dim + OVERSAMPLING, *weights.shape)
    sample = np.random.default_rng(seed).standard_normal((weights.shape[1], width), dtype=np.float32)
    basis = np.linalg.qr(weights @ sample)[0]
    for _ in range(NUM_POWER_ITERATIONS):
        basis = np.linalg.qr(weights @ np.linalg.qr(weights.T @ basis)[0])[0]
    directions = np.linalg.svd((weights.T @ basis).T, full_matrices=False)[2][:dim].T
    largest = directions[np.abs(directions).argmax(0), np.arange(dim)]
    return np.where(largest < 0, -1, 1).astype(np.float32) * directions
