"""Vectors of texts by a sentence-transformers model that lies on this machine; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.semantic.content import Vectors
from recsys.prepare.semantic.texts import joined_texts

_BATCH_TEXTS = 64
_PROBE = "a sentence whose vector tells one model from another"
_TOLERANCE = 1e-3
"""Between vectors of one text by one model, on two machines."""


@dataclass(frozen=True)
class SentenceEncoder:
    """Turns texts into unit vectors.

    Args:
        path: folder of a saved SentenceTransformer.
        probe: [T] the vector of a fixed text, by which the model is known again; None to take the model as it is.
    """

    path: str
    probe: NDArray[np.float32] | None = None

    def __call__(self, frame: pl.DataFrame, columns: list[str]) -> Vectors:
        """Vectors of the items that have a text, the columns one after the other.

        Raises:
            ValueError: if there is no such model, its package is missing, or it is another one than before.
        """
        model = self._model()
        texts = [text.strip() for text in joined_texts(frame, columns)]
        known = np.array([bool(text) for text in texts], dtype=bool)
        if not known.any():
            raise ValueError(f"--text: no item has a text in {', '.join(columns)}; name other columns.")
        values = _encoded(model, [text for text in texts if text])
        return Vectors(frame["item"].filter(pl.Series(known)), values)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """By what the model is known again, for a file."""
        probe = _encoded(self._model(), [_PROBE])[0] if self.probe is None else self.probe
        return {"sentence_probe": probe}

    def known_by(self, arrays: Mapping[str, NDArray[Any]]) -> SentenceEncoder:
        """The same model, which must be the one that gave these arrays."""
        return SentenceEncoder(self.path, arrays["sentence_probe"])

    def _model(self) -> Any:
        if not Path(self.path).is_dir():
            raise ValueError(
                f"--encoder: folder '{self.path}' does not exist; give one that SentenceTransformer(...).save wrote."
            )
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ValueError("--encoder needs the package; pip install sentence-transformers.") from error
        model = SentenceTransformer(self.path, local_files_only=True)
        if self.probe is not None:
            mine = _encoded(model, [_PROBE])[0]
            if mine.shape != self.probe.shape or not np.allclose(mine, self.probe, atol=_TOLERANCE):
                raise ValueError(
                    f"--encoder: '{self.path}' is another model than the one that the codes were made with."
                )
        return model


def _encoded(model: Any, texts: list[str]) -> NDArray[np.float32]:
    """Unit vectors [M, T]."""
    found = model.encode(
        texts, batch_size=_BATCH_TEXTS, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
    )
    values: NDArray[np.float32] = np.asarray(found, dtype=np.float32)
    return values
