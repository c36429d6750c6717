"""A trained model, taken apart into tables that methods compress, and put together again from what they give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from recsys.compression.probe import Probe, first_batches
from recsys.compression.trained import Compressed, TrainedTable
from recsys.data import CTRDataModule
from recsys.data.batch import Batch
from recsys.description.vectors import vectors_of
from recsys.tables import FullTable, TableCollection
from recsys.tasks import CTRTask, TableTask

_SENSITIVITY_ROWS = 1 << 15
_SHAPLEY_ROWS, _SHAPLEY_ORDERS = 1 << 12, 4
_PIECE_IDS = 1 << 18

Scores = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Labels and logits of a split, row by row."""


class TrainedModel:
    """A task with trained tables, and the data that it was trained on.

    Args:
        task: a CTRTask with the rows of its checkpoint.
        data: its data module.
        counts: how often each id occurs in training, by table; those that are missing are counted.
        seed: of what is sampled.
        bf16: score in mixed precision with bfloat16, as the model's trainer does.

    Raises:
        ValueError: on a task that is not CTRTask.
    """

    def __init__(
        self,
        task: TableTask,
        data: LightningDataModule,
        counts: Mapping[str, Tensor | None],
        seed: int = 0,
        bf16: bool = False,
    ) -> None:
        if not isinstance(task, CTRTask) or not isinstance(data, CTRDataModule):
            raise ValueError(f"recsys compress takes models of CTRTask, got {type(task).__name__}.")
        self.task, self.data = task.eval(), data
        self._seed, self._bf16 = seed, bf16
        self.trained = task.collection
        data.setup("fit")
        counted = self._counted([name for name, found in counts.items() if found is None])
        self._counts = {name: counted[name] if found is None else found for name, found in counts.items()}

    @property
    def full_bytes(self) -> int:
        """Of the V x D matrices that the tables stand for."""
        names = dict.fromkeys(feature.table for feature in self.trained.features)
        return sum(self.trained.table(name).logical_bytes() for name in names)

    def tables(self, with_column_values: bool) -> list[TrainedTable]:
        """What methods are given.

        Args:
            with_column_values: measure the Shapley values of columns, which takes a while.
        """
        device = self.task.device
        probe = Probe(self.task, first_batches(self._train_batches(), _SENSITIVITY_ROWS, device))
        of_feature = probe.sensitivity()
        sensitivity = self._by_table(of_feature)
        found = {
            name: TrainedTable(name, self._vectors(name), self._counts[name], own) for name, own in sensitivity.items()
        }
        if with_column_values:
            probe = Probe(self.task, first_batches(self._train_batches(), _SHAPLEY_ROWS, device))
            means = {feature.name: found[feature.table].mean() for feature in self.trained.features}
            values = self._by_table(probe.column_values(means, _SHAPLEY_ORDERS, self._seed))
            found = {
                name: TrainedTable(name, each.vectors, each.counts, each.sensitivity, values[name])
                for name, each in found.items()
            }
        return list(found.values())

    def use(self, compressed: Mapping[str, Compressed]) -> None:
        """Give the task compressed tables."""
        self.task.collection = collection_of(self.task, compressed)
        self.task.eval()

    def use_trained(self) -> None:
        """Give the task the tables that it was trained with."""
        self.task.collection = self.trained
        self.task.eval()

    @torch.inference_mode()
    def scores(self, split: str) -> Scores:
        """Labels and logits of the val or test split with the tables that are used."""
        self.data.setup({"val": "validate", "test": "test"}[split])
        loader: Iterable[Batch] = self.data.val_dataloader() if split == "val" else self.data.test_dataloader()
        labels, logits = [], []
        for batch in loader:
            batch = batch.to(self.task.device)
            assert batch.labels is not None
            labels.append(batch.labels.cpu())
            with torch.autocast(self.task.device.type, torch.bfloat16, enabled=self._bf16):
                logits.append(self.task(batch).cpu())
        return torch.cat(labels).numpy(), torch.cat(logits).numpy()

    def _train_batches(self) -> Iterable[Batch]:
        return self.data.train_dataloader()

    def _by_table(self, of_feature: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Sums over the features that read a table."""
        found: dict[str, Tensor] = {}
        for feature in self.trained.features:
            own = of_feature[feature.name]
            found[feature.table] = found[feature.table] + own if feature.table in found else own
        return found

    def _vectors(self, name: str) -> Tensor:
        """[V, D]; those of a FullTable where they are."""
        table = self.trained.table(name)
        if type(table) is FullTable and self.trained.lookup.weight(name).device.type == "cpu":
            return self.trained.lookup.weight(name).detach().float()
        found = torch.empty(table.num_embeddings, table.embedding_dim)
        for start in range(0, table.num_embeddings, _PIECE_IDS):
            ids = torch.arange(start, min(start + _PIECE_IDS, table.num_embeddings), device=self.task.device)
            found[start : start + len(ids)] = vectors_of(self.trained, name, ids)
        return found

    def _counted(self, names: list[str]) -> dict[str, Tensor]:
        """How often the ids of some tables occur in the train split."""
        found = {name: torch.zeros(self.trained.table(name).num_embeddings, dtype=torch.int64) for name in names}
        if not names:
            return found
        single = [feature.name for feature in self.trained.features if feature.pooling is None]
        for batch in self._train_batches():
            columns = dict(zip(single, batch.ids, strict=True)) | {name: bag.values for name, bag in batch.bags.items()}
            for feature in self.trained.features:
                if feature.table in found:
                    ids = columns[feature.name].long()
                    found[feature.table].scatter_add_(0, ids, torch.ones_like(ids))
        return found


def collection_of(task: CTRTask, compressed: Mapping[str, Compressed]) -> TableCollection:
    """The task's features with compressed tables, filled; rows train with its `table_optimizer`."""
    before = task.collection
    collection = TableCollection(
        before.features,
        {name: table for name, (table, _) in compressed.items()},
        optimizer=task.table_settings.table_optimizer,
        lookup=type(before.lookup),
        dtype=before.lookup.dtype,
        device=task.device,
        clip_rows=task.table_settings.clip_rows,
    )
    for _, matrices in compressed.values():
        for name, rows in matrices.items():
            collection.lookup.load_weight(name, rows)
    return collection


def checkpoint_of(task: CTRTask, content: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint of the task holds as it is now: no optimizer state, and nothing of callbacks.

    Args:
        task: with the tables to save.
        content: of the checkpoint that it was loaded from.
    """
    kept = ("epoch", "global_step", "pytorch-lightning_version")
    found: dict[str, Any] = {key: content[key] for key in kept if key in content}
    # Views of larger tensors would be saved with all of them.
    found["state_dict"] = {name: value.detach().cpu().clone() for name, value in task.state_dict().items()}
    task.on_save_checkpoint(found)
    return found


def save(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint beside its place, then put it there."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        torch.save(dict(checkpoint), file)
    partial.replace(path)
