"""How often the ids of each table occur in training: as they were counted, or counted now."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from recsys.data import CTRDataModule, SessionDataModule
from recsys.data.counts import check_counts, read_counts
from recsys.tables import TableCollection
from recsys.tasks import SessionTask, TableTask
from recsys.tasks.items import ItemBags


def counts_of(
    task: TableTask, data: CTRDataModule | SessionDataModule, folder: Path | None = None
) -> dict[str, Tensor]:
    """Counts [V] by table; those without a file are counted in the train split, or follow from those of the items.

    Args:
        task: with the tables.
        data: their data.
        folder: of counts; None takes counts/ of the data.

    Raises:
        ValueError: if the folder is none, counts other data, or a file does not fit its table.
    """
    collection = task.collection
    tables = list(dict.fromkeys(feature.table for feature in collection.features))
    folder = data.schema.path / "counts" if folder is None else check_counts(folder, tables, task.data_identity)
    found, missing = {}, {}
    for name in tables:
        size = collection.table(name).num_embeddings
        known = read_counts(folder, name, size)
        if known is None:
            missing[name] = torch.zeros(size, dtype=torch.int64)
        found[name] = missing[name] if known is None else torch.from_numpy(known)
    if missing and isinstance(task, SessionTask):
        _count_by_items(task, missing)
    elif missing and isinstance(data, CTRDataModule):
        _count(collection, data, missing)
    return found


def _count_by_items(task: SessionTask, counts: dict[str, Tensor]) -> None:
    """Add up, for each id that describes items, how often these occur."""
    of_items = task.get_buffer("item_counts").cpu()
    features = dict(task.items.named_buffers(recurse=False)).get("features")
    single = [feature.name for feature in task.collection.features if feature.pooling is None]
    rows = torch.arange(len(of_items)).unsqueeze(0) if features is None else features.cpu()
    columns = {name: (ids, of_items) for name, ids in zip(single, rows, strict=True)}
    for name, bags in task.items.bags.named_children():
        assert isinstance(bags, ItemBags)
        values, lengths = (bags.get_buffer(part).cpu() for part in ("values", "lengths"))
        columns[name] = (values, of_items.repeat_interleave(lengths))
    for feature in task.collection.features:
        if feature.table in counts:
            counts[feature.table].scatter_add_(0, *columns[feature.name])


def _count(collection: TableCollection, data: CTRDataModule, counts: dict[str, Tensor]) -> None:
    """Add up the ids of all rows of the train split, those that drop_last leaves out too."""
    data.setup("fit")
    single = [feature.name for feature in collection.features if feature.pooling is None]
    for batch in data.eval_dataloader("train"):
        columns = dict(zip(single, batch.ids, strict=True)) | {name: bag.values for name, bag in batch.bags.items()}
        for feature in collection.features:
            if feature.table in counts:
                ids = columns[feature.name].long()
                counts[feature.table].scatter_add_(0, ids, torch.ones_like(ids))
