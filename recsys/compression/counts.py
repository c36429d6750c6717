"""How often the ids of each table occur in training: as they were counted, or counted now."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from recsys.data import CTRDataModule
from recsys.data.counts import read_counts
from recsys.tables import TableCollection


def counts_of(collection: TableCollection, data: CTRDataModule, folder: Path | None = None) -> dict[str, Tensor]:
    """Counts [V] by table; those without a file are counted in the train split.

    Args:
        collection: the tables.
        data: their data.
        folder: of counts; None takes counts/ of the data.

    Raises:
        ValueError: if a file does not fit its table.
    """
    folder = folder or data.schema.path / "counts"
    found, missing = {}, {}
    for name in dict.fromkeys(feature.table for feature in collection.features):
        size = collection.table(name).num_embeddings
        known = read_counts(folder, name, size)
        if known is None:
            missing[name] = torch.zeros(size, dtype=torch.int64)
        found[name] = missing[name] if known is None else torch.from_numpy(known)
    if missing:
        _count(collection, data, missing)
    return found


def _count(collection: TableCollection, data: CTRDataModule, counts: dict[str, Tensor]) -> None:
    """Add up the ids of the train split."""
    data.setup("fit")
    single = [feature.name for feature in collection.features if feature.pooling is None]
    for batch in data.train_dataloader():
        columns = dict(zip(single, batch.ids, strict=True)) | {name: bag.values for name, bag in batch.bags.items()}
        for feature in collection.features:
            if feature.table in counts:
                ids = columns[feature.name].long()
                counts[feature.table].scatter_add_(0, ids, torch.ones_like(ids))
