"""How often each id of a table is in the training data: of a file, or given."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.tables.item_files import ids_of, read_parquet
from recsys.tables.placement import INTEGERS


def counts_of_ids(owner: str, counts: str | Tensor, num_embeddings: int) -> Tensor:
    """The count int64 [V] of every id.

    Args:
        owner: for messages.
        counts: the Parquet file (id, count) of a prepared folder, counts/NAME.parquet; or [V].
        num_embeddings: V.

    Raises:
        ValueError: if they are not whole numbers of at least 0, one for each id.
    """
    if isinstance(counts, str):
        return _read(owner, counts, num_embeddings)
    check_integers(owner, "counts", counts)
    if counts.shape != (num_embeddings,):
        raise ValueError(f"{owner}: counts must be [num_embeddings={num_embeddings}], got {list(counts.shape)}.")
    return counts.long()


def check_integers(owner: str, name: str, given: Tensor, most: int | None = None) -> None:
    """Refuse what is not whole numbers from 0 to `most`.

    Raises:
        ValueError: naming the argument and what was given.
    """
    low, high = (int(each) for each in given.aminmax()) if given.numel() and given.dtype in INTEGERS else (-1, -1)
    if low < 0 or (most is not None and high > most):
        bound = "at least 0" if most is None else f"in [0, {most}]"
        got = f"{low} to {high}" if given.dtype in INTEGERS else f"{list(given.shape)} of {given.dtype}"
        raise ValueError(f"{owner}: {name} must be whole numbers {bound}, got {got}.")


def _read(owner: str, path: str, num_embeddings: int) -> Tensor:
    table = read_parquet(owner, path, "it is counts/NAME.parquet of the prepared data")
    if not {"id", "count"} <= set(table.column_names):
        raise ValueError(f"{owner}: '{path}' must have columns id and count.")
    ids = ids_of(owner, path, table["id"], None, num_embeddings)
    if len(ids) != num_embeddings or bool((ids < 0).any()):
        raise ValueError(f"{owner}: '{path}' must count each of num_embeddings={num_embeddings} ids.")
    kind, missing = table["count"].type, table["count"].null_count
    if not str(kind).startswith(("int", "uint")) or missing:
        raise ValueError(f"{owner}: column 'count' of '{path}' must hold whole numbers, got {kind}, {missing} missing.")
    found = torch.from_numpy(table["count"].to_numpy().astype("int64"))
    if bool((found < 0).any()):
        raise ValueError(f"{owner}: column 'count' of '{path}' holds {int(found.min())}; counts are at least 0.")
    return torch.zeros(num_embeddings, dtype=torch.int64).scatter_(0, ids, found)
