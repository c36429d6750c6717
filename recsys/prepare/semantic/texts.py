"""Vectors of texts: TF-IDF of words and its leading singular vectors, kept so that new texts get vectors too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys.prepare.files.column_values import is_plain
from recsys.prepare.semantic.content import Vectors

MAX_WORDS = 20_000
_TOKEN = r"(?u)\b\w\w+\b"


@dataclass(frozen=True)
class TextEncoder:
    """Turns texts into unit vectors.

    Args:
        words: [W] that count.
        rarity: [W] inverse document frequencies.
        directions: [W, T] leading right singular vectors.
    """

    words: NDArray[np.str_]
    rarity: NDArray[np.float64]
    directions: NDArray[np.float32]

    def __call__(self, frame: pl.DataFrame, columns: list[str]) -> Vectors:
        """Vectors of the items whose texts, the columns one after the other, have a word that counts."""
        weights = self._vectorizer().transform(joined_texts(frame, columns))
        values = np.asarray(weights @ self.directions, dtype=np.float32)
        lengths = np.linalg.norm(values, axis=1)
        known = lengths > 1e-6
        return Vectors(frame["item"].filter(pl.Series(known)), values[known] / lengths[known, None])

    def _vectorizer(self) -> TfidfVectorizer:
        vectorizer = TfidfVectorizer(vocabulary=list(self.words), sublinear_tf=True, token_pattern=_TOKEN)
        vectorizer.idf_ = self.rarity
        return vectorizer

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What it is made of, for a file."""
        return {"text_words": self.words, "text_rarity": self.rarity, "text_directions": self.directions}

    @staticmethod
    def of_arrays(arrays: Mapping[str, NDArray[Any]]) -> TextEncoder:
        """The encoder that gave these."""
        return TextEncoder(arrays["text_words"], arrays["text_rarity"], arrays["text_directions"])


def fit_texts(frame: pl.DataFrame, columns: list[str], dim: int, seed: int) -> TextEncoder:
    """An encoder of texts like these; words of two texts or more count, the most common 20,000 of them.

    Raises:
        ValueError: if dim is not in [1, number of words that count).
    """
    vectorizer = TfidfVectorizer(
        min_df=2, max_features=MAX_WORDS, sublinear_tf=True, stop_words="english", token_pattern=_TOKEN
    )
    texts = joined_texts(frame, columns)
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError as error:
        raise ValueError("--text: no word occurs in the texts of two items; name other columns of text.") from error
    most = min(weights.shape) - 1
    if not 1 <= dim <= most:
        raise ValueError(f"--text-dim must be in [1, {most}] for these texts, got {dim}.")
    directions = TruncatedSVD(dim, n_iter=7, random_state=seed).fit(weights).components_.T
    words = np.array(vectorizer.get_feature_names_out(), dtype=str)
    return TextEncoder(words, vectorizer.idf_, np.ascontiguousarray(directions, dtype=np.float32))


def joined_texts(frame: pl.DataFrame, columns: list[str]) -> list[str]:
    """The columns of each item one after the other; an empty text where all are missing.

    Raises:
        ValueError: if a column holds lists, or what else has no text.
    """
    for name in columns:
        if not is_plain(frame[name].dtype):
            raise ValueError(f"--text: column '{name}' is of type {frame[name].dtype}; name columns of texts.")
    parts = pl.concat_str(pl.col(columns).cast(pl.String), separator=" ", ignore_nulls=True)
    return frame.select(text=parts.fill_null(""))["text"].to_list()
