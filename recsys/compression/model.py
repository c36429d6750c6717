"""A trained model, taken apart into tables that methods compress, and put together again from what they give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import lightning
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from recsys.compression.probe import Probe, first_batches
from recsys.compression.quality import quality_of
from recsys.compression.session_probe import SessionProbe
from recsys.compression.trained import Compressed, TrainedTable
from recsys.data import CTRDataModule, SessionDataModule
from recsys.description.vectors import vectors_of
from recsys.tables import FullTable, TableCollection
from recsys.tasks import CTRTask, NextItemTask, TableTask

_SENSITIVITY_ROWS, _SENSITIVITY_SESSIONS = 1 << 15, 1 << 11
_SHAPLEY_ROWS, _SHAPLEY_SESSIONS, _SHAPLEY_ORDERS = 1 << 12, 1 << 8, 4
_PIECE_IDS = 1 << 18


class TrainedModel:
    """A task with trained tables, and the data that it was trained on.

    Args:
        task: a CTRTask or NextItemTask with the rows of its checkpoint.
        data: its data module.
        counts: how often each id occurs in training, by table.
        seed: of what is sampled.
        bf16: score in mixed precision with bfloat16, as the model's trainer does.

    Raises:
        ValueError: on another task, or data of another kind.
    """

    def __init__(
        self,
        task: TableTask,
        data: LightningDataModule,
        counts: Mapping[str, Tensor],
        seed: int = 0,
        bf16: bool = False,
    ) -> None:
        self.quality = quality_of(task, bf16)
        if not isinstance(data, CTRDataModule | SessionDataModule):
            raise ValueError(f"recsys compress takes data of this package, got {type(data).__name__}.")
        self.task, self.data = task.eval(), data
        self._seed = seed
        self.trained = task.collection
        self.counts = dict(counts)
        data.setup("fit")

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
        of_feature = self._probe(_SENSITIVITY_ROWS, _SENSITIVITY_SESSIONS).sensitivity()
        sensitivity = self._by_table(of_feature)
        found = {
            name: TrainedTable(name, self._vectors(name), self.counts[name], own) for name, own in sensitivity.items()
        }
        if with_column_values:
            probe = self._probe(_SHAPLEY_ROWS, _SHAPLEY_SESSIONS)
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

    def scores(self, split: str) -> Any:
        """What quality is computed of: the val or test split with the tables that are used."""
        return self.quality.of_split(self.data, split)

    def _probe(self, num_rows: int, num_sessions: int) -> Probe | SessionProbe:
        """One that asks about so many rows of training data, or sessions."""
        batches: Iterable[Any] = self.data.train_dataloader()
        if isinstance(self.task, NextItemTask):
            return SessionProbe(self.task, first_batches(batches, num_sessions, self.task.device), self._seed)
        assert isinstance(self.task, CTRTask)
        return Probe(self.task, first_batches(batches, num_rows, self.task.device))

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


def collection_of(task: TableTask, compressed: Mapping[str, Compressed]) -> TableCollection:
    """The task's features with compressed tables, filled; rows train with its `table_optimizer`."""
    before = task.collection
    collection = TableCollection(
        before.features,
        {name: table for name, (table, _) in compressed.items()},
        optimizer=task.table_settings.rows.optimizer,
        lookup=type(before.lookup),
        dtype=before.lookup.dtype,
        device=task.device,
        clip_rows=task.table_settings.rows.clip_rows,
    )
    for _, matrices in compressed.values():
        for name, rows in matrices.items():
            collection.lookup.load_weight(name, rows)
    return collection


def checkpoint_of(task: TableTask, content: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint of the task holds as it is now: no optimizer state, and nothing of callbacks.

    Args:
        task: with the tables to save.
        content: of the checkpoint that it was loaded from; without how far it was trained, that is not at all.
    """
    progress = {"epoch": 0, "global_step": 0, "pytorch-lightning_version": lightning.__version__}
    found: dict[str, Any] = {key: content.get(key, untrained) for key, untrained in progress.items()}
    # Views of larger tensors would be saved with all of them.
    found["state_dict"] = {name: value.detach().cpu().clone() for name, value in task.state_dict().items()}
    task.on_save_checkpoint(found)
    return found
