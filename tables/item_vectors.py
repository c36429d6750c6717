"""Where the vectors of a table's ids come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recsys.argument_types import check_fields
from recsys.tables.item_files import ids_of, read_parquet
from recsys.tables.numbers import check_number

_MAX_WIDTH = 1 << 16
_NUMBERS = "biuf"
"""Kinds of NumPy's that are real numbers."""


@dataclass(frozen=True)
class VectorSource(ABC):
    """Gives a table the vectors of its ids."""

    @abstractmethod
    def load(self, owner: str, num_embeddings: int) -> Tensor:
        """float32 [V, T]; zeros for an id without one.

        Raises:
            ValueError: naming the owner, if they cannot be had.
        """


@dataclass(frozen=True)
class VectorFile(VectorSource):
    """A .npy matrix with a row for each id, as vectors/NAME.npy is, or a column of lists of a Parquet file.

    Args:
        path: of the file.
        column: of a Parquet file, which has a column item beside it.
        vocabulary: the Parquet file (id, value) of the prepared data: vectors go by what items are called. Without it
            the column item holds ids.
    """

    path: str
    column: str | None = None
    vocabulary: str | None = None

    def __post_init__(self) -> None:
        """Refuse fields of another type."""
        check_fields(self)

    def load(self, owner: str, num_embeddings: int) -> Tensor:
        """Read, and join a Parquet file."""
        if self.path.endswith(".npy"):
            vectors = self._matrix(owner, num_embeddings)
        else:
            vectors = self._column(owner, num_embeddings)
        if not bool(vectors.isfinite().all()):
            row = int((~vectors.isfinite()).any(1).nonzero()[0])
            raise ValueError(f"{owner}: '{self.path}' has a value for id {row} that is no finite float32.")
        return vectors

    def _matrix(self, owner: str, num_embeddings: int) -> Tensor:
        import numpy as np

        if self.column is not None or self.vocabulary is not None:
            raise ValueError(f"{owner}: column and vocabulary go with a Parquet file; '{self.path}' has a row per id.")
        if not Path(self.path).is_file():
            raise ValueError(f"{owner}: file '{self.path}' does not exist.")
        try:
            values = np.load(self.path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{owner}: '{self.path}' cannot be read as a matrix ({error}).") from error
        if not isinstance(values, np.ndarray) or values.dtype.kind not in _NUMBERS:
            found = values.dtype if isinstance(values, np.ndarray) else "several arrays"
            raise ValueError(f"{owner}: '{self.path}' must hold real numbers, got {found}.")
        if values.ndim != 2 or len(values) != num_embeddings or not values.shape[1]:
            raise ValueError(
                f"{owner}: '{self.path}' must have a row for each of num_embeddings={num_embeddings} ids, got "
                f"{list(values.shape)}."
            )
        with np.errstate(over="ignore"):  # what float32 does not hold is said by `load`
            return torch.from_numpy(values.astype(np.float32))

    def _column(self, owner: str, num_embeddings: int) -> Tensor:
        import numpy as np

        table = read_parquet(owner, self.path, "give a .npy or a Parquet file of vectors")
        if self.column is None or not {"item", self.column} <= set(table.column_names):
            raise ValueError(
                f"{owner}: '{self.path}' must have columns item and '{self.column}'; it has "
                f"{', '.join(table.column_names)}."
            )
        ids = ids_of(owner, self.path, table["item"], self.vocabulary, num_embeddings)
        where, kind = f"{owner}: column '{self.column}' of '{self.path}'", table[self.column].type
        if not _holds_lists(kind):
            raise ValueError(f"{where} must hold lists of numbers, got {kind}.")
        rows = [[] if row is None else row for row in table[self.column].to_pylist()]
        widths = {len(row) for row in rows if row}
        if len(widths) != 1:
            raise ValueError(f"{where} must hold vectors of one width, got {sorted(widths)}.")
        vectors = torch.zeros(num_embeddings, widths.pop())
        known = torch.tensor([bool(row) for row in rows]) & (ids >= 0)
        if not bool(known.any()):
            raise ValueError(f"{owner}: no item of '{self.path}' is an id of the table; give the vocabulary it is of.")
        chosen = [rows[place] for place in known.nonzero().squeeze(1).tolist()]
        with np.errstate(over="ignore"):
            vectors[ids[known]] = torch.from_numpy(np.array(chosen, dtype=np.float64).astype(np.float32))
        return vectors


def _holds_lists(kind: Any) -> bool:
    """Whether an Arrow type is one of lists of numbers."""
    import pyarrow as pa

    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    inner = kind.value_type if is_list else None
    return is_list and (pa.types.is_floating(inner) or pa.types.is_integer(inner) or pa.types.is_boolean(inner))


@dataclass(frozen=True)
class RandomVectors(VectorSource):
    """Vectors that mean nothing: the control.

    Args:
        width: T, rounded up to a multiple of 4.
    """

    width: int = 64

    def __post_init__(self) -> None:
        """Refuse no width."""
        check_fields(self)
        check_number("RandomVectors", "width", self.width, 1, _MAX_WIDTH)

    def load(self, owner: str, num_embeddings: int) -> Tensor:
        """Nothing is read: the table's rows are drawn."""
        return torch.empty(0, self.width)


@dataclass(frozen=True)
class StoredVectors(VectorSource):
    """The rows of the checkpoint that is loaded, without the file that they once came from.

    Args:
        width: of the rows.
        checksum: of the vectors that they were made of, as the checkpoint says.
    """

    width: int
    checksum: str = ""

    def __post_init__(self) -> None:
        """Refuse no width."""
        check_fields(self)
        check_number("StoredVectors", "width", self.width, 1, 1 << 31)

    def load(self, owner: str, num_embeddings: int) -> Tensor:
        """Nothing is read: the rows come with the checkpoint."""
        return torch.empty(0, self.width)
