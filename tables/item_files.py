"""Parquet files that say something of each id: the ids their rows are of, by number or through a vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_EXACT = 1 << 53


def ids_of(owner: str, path: str, items: Any, vocabulary: str | None, num_embeddings: int) -> Tensor:
    """The id [M] of every item of a file, or -1.

    Args:
        owner: for messages.
        path: of the file, for messages.
        items: its column.
        vocabulary: the Parquet file (id, value) that items are looked up in; None where they are ids.
        num_embeddings: V.

    Raises:
        ValueError: if items are no ids, one is missing or there twice, or the vocabulary is of other data.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    items = _plain_ids(f"{owner}: items of '{path}'", items)
    counted = pc.value_counts(items)
    if items.null_count or len(counted) < len(items):
        repeated = counted.field(0).filter(pc.greater(counted.field(1), 1))
        problem = "an item is missing" if items.null_count else f"item '{repeated[0].as_py()}' is there twice"
        raise ValueError(f"{owner}: in '{path}' {problem}; one row an item.")
    if vocabulary is None:
        if not pa.types.is_integer(items.type):
            raise ValueError(f"{owner}: items of '{path}' are {items.type}, no ids; give their vocabulary.")
        # Compared before it is narrowed: an unsigned number may lie above all int64.
        inside = pc.and_(pc.greater_equal(items, 0), pc.less(items, num_embeddings))
        ids = pc.if_else(inside, items, None).cast(pa.int64()).fill_null(-1)
        return torch.from_numpy(ids.to_numpy().copy())
    numbers, values = _vocabulary(owner, vocabulary, num_embeddings)
    places = pc.index_in(pc.cast(items, pa.string()), value_set=values)
    found = torch.from_numpy(pc.fill_null(places, -1).to_numpy().copy()).long()
    return torch.where(found >= 0, numbers[found.clamp(min=0)], -1)


def _plain_ids(where: str, values: Any) -> Any:
    """Whole numbers or texts in one array; floats that are whole become what they stand for.

    Raises:
        ValueError: if they are of another kind, or floats that are not whole or too large to be exact.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = values.combine_chunks()
    plain = plain.dictionary_decode() if pa.types.is_dictionary(plain.type) else plain
    kind = plain.type
    if pa.types.is_floating(kind):
        try:
            whole = plain.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise ValueError(f"{where} must be whole numbers or texts ({error}).") from error
        if pc.any(pc.greater_equal(pc.abs(whole), _EXACT)).as_py():
            raise ValueError(f"{where} are floats of 2**53 or more, where neighbours are one number; store integers.")
        return whole
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ValueError(f"{where} must be whole numbers or texts, got {kind}.")
    return plain


def _vocabulary(owner: str, path: str, num_embeddings: int) -> tuple[Tensor, Any]:
    """Ids [M] of a prepared folder, and the texts that they stand for.

    Raises:
        ValueError: if the file is no vocabulary, or one of other data.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    known = read_parquet(owner, path, "it is vocabulary/NAME.parquet of the prepared data")
    if not {"id", "value"} <= set(known.column_names) or not len(known):
        raise ValueError(f"{owner}: '{path}' must have columns id and value, and rows.")
    ids, values = known["id"].combine_chunks(), known["value"].combine_chunks()
    try:
        texts = pc.cast(values, pa.string())
    except pa.ArrowException as error:
        raise ValueError(f"{owner}: column 'value' of '{path}' is {values.type}, no texts or numbers.") from error
    if not pa.types.is_integer(ids.type) or ids.null_count or texts.null_count:
        raise ValueError(f"{owner}: '{path}' must hold whole numbers in id, got {ids.type}, and nothing missing.")
    if len(pc.unique(ids)) < len(ids) or len(pc.unique(texts)) < len(texts):
        raise ValueError(f"{owner}: '{path}' has an id or a value twice; it is no vocabulary.")
    ends = pc.min_max(ids).as_py()
    if not 0 <= ends["min"] <= ends["max"] < num_embeddings:
        raise ValueError(
            f"{owner}: '{path}' has ids {ends['min']}..{ends['max']}, the table has {num_embeddings}; it is of other "
            "data."
        )
    return torch.from_numpy(pc.cast(ids, pa.int64()).to_numpy().copy()), texts


def read_parquet(owner: str, path: str, hint: str) -> Any:
    """The table of a file.

    Raises:
        ValueError: if there is none, with the hint.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not Path(path).is_file():
        raise ValueError(f"{owner}: file '{path}' does not exist; {hint}.")
    try:
        table = pq.read_table(path)
        _ = table.column_names  # their bytes are looked at no earlier
        return table
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{owner}: '{path}' cannot be read as a Parquet file ({error}).") from error
