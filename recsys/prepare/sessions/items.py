"""Items' ids, and what is known of each item as columns of ids and numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.sessions.log import EventLog, ItemColumn


@dataclass(frozen=True)
class ItemIds:
    """Ids 1..V by falling number of training events; items never trained on come last. Ties keep the log's order.

    Attributes:
        values: [V] what the log calls them; place r is id r + 1.
        events: id of every event.
    """

    values: pl.Series
    events: NDArray[np.int64]

    def place(self, items: pl.Series) -> NDArray[np.int64]:
        """Id of each item; 0 if the log has no event of it."""
        known = pl.DataFrame({"item": self.values, "id": np.arange(1, len(self.values) + 1)})
        frame = pl.DataFrame({"item": items.cast(self.values.dtype)})
        return frame.join(known, on="item", how="left", maintain_order="left")["id"].fill_null(0).to_numpy()


def number_items(items: pl.Series, is_trained: NDArray[np.bool_]) -> tuple[ItemIds, NDArray[np.int64]]:
    """Give items their ids, and count each id's training events: [V + 1]."""
    values = items.unique(maintain_order=True)
    first = ItemIds(values, np.empty(0, np.int64)).place(items) - 1
    counts = np.bincount(first[is_trained], minlength=len(values))
    order = np.argsort(-counts, kind="stable")
    ids = np.empty(len(values), np.int64)
    ids[order] = np.arange(1, len(values) + 1)
    return ItemIds(values.gather(order), ids[first]), np.concatenate([[0], counts[order]])


def encode_items(log: EventLog, ids: ItemIds) -> tuple[pl.DataFrame, list[dict[str, object]], dict[str, pl.Series]]:
    """Metadata in the order of ids, id 0 first.

    Returns:
        items.parquet's frame, what schema.json says of its columns, and each vocabulary in the order of ids 1, 2, ...
        Id 0 of every column stands for a missing value; so do an empty list, and 0.0 in a dense column.
    """
    frame = pl.DataFrame({"item": np.arange(len(ids.values) + 1)})
    entries: list[dict[str, object]] = []
    vocabularies: dict[str, pl.Series] = {}
    if log.metadata is None:
        return frame, entries, vocabularies
    known = log.metadata.with_columns(item=pl.Series(ids.place(log.metadata["item"]))).filter(pl.col("item") > 0)
    metadata = frame.join(known, on="item", how="left", maintain_order="left")
    for column in log.columns:
        encoded, vocabulary = _encode(metadata[column.name], column)
        frame = frame.with_columns(encoded.alias(column.name))
        entry: dict[str, object] = {"name": column.name}
        if vocabulary is None:
            entries.append({**entry, "kind": "dense"})
            continue
        vocabularies[column.name] = vocabulary
        kind = "multi_valued" if column.kind == "multi_valued" else "categorical"
        entries.append({**entry, "kind": kind, "num_embeddings": len(vocabulary) + 1})
    return frame, entries, vocabularies


def _encode(values: pl.Series, column: ItemColumn) -> tuple[pl.Series, pl.Series | None]:
    """Encoded cells, and the vocabulary of ids 1, 2, ... unless the column is dense."""
    if column.kind == "dense":
        return values.cast(pl.Float32).fill_null(0.0), None
    if column.kind == "bins":
        return _bins(values.cast(pl.Float64), column.num_bins)
    cells = values.to_frame("value").with_row_index("row")
    if column.kind == "multi_valued":
        # Polars versions differ in whether an empty list keeps its row when exploded; a null always does.
        cells = cells.with_columns(pl.when(pl.col("value").list.len() > 0).then("value")).explode("value")
    if cells["value"].dtype == pl.String:
        cells = cells.with_columns(pl.col("value").replace("", None))
    elif cells["value"].dtype.is_float():
        cells = cells.with_columns(pl.col("value").fill_nan(None))
    present = cells.drop_nulls("value")
    vocabulary = present.group_by("value", maintain_order=True).len().sort("len", descending=True, maintain_order=True)
    numbers = vocabulary.select("value", id=pl.int_range(1, pl.len() + 1, dtype=pl.Int32))
    joined = cells.join(numbers, on="value", how="left", maintain_order="left")
    if column.kind == "categorical":
        return joined["id"].fill_null(0), vocabulary["value"]
    lists = joined.group_by("row", maintain_order=True).agg(pl.col("id").drop_nulls().unique(maintain_order=True))
    return lists["id"], vocabulary["value"]


def _bins(values: pl.Series, num_bins: int) -> tuple[pl.Series, pl.Series]:
    """Quantiles of the items' numbers; equal numbers share a bin."""
    numbers = values.to_numpy()
    known = ~np.isnan(numbers)
    steps = np.arange(1, num_bins) / num_bins
    bounds = np.unique(np.quantile(numbers[known], steps)) if known.any() else np.empty(0)
    ids = np.where(known, 1 + np.searchsorted(bounds, numbers, side="right"), 0)
    low = np.concatenate([[-np.inf], bounds])
    return pl.Series(ids.astype(np.int32)), pl.Series([f"from {bound!r}" for bound in low.tolist()])
