"""From a data set's items and the user's words to what describes an item."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys.data.schema import Column
from recsys.models.checks import check_at_least
from recsys.tasks.assignment import did_you_mean
from recsys.tasks.dense_model import fusion_module
from recsys.tasks.items import FeatureHeads, ItemBags, ItemSide, Projected

FusionFactory = Callable[[int, int], nn.Module]
"""Called with (num_features, embedding_dim)."""

ITEM = "item"


class ItemCatalogue(Protocol):
    """What the task learns from the data: how many items there are, and what describes them."""

    @property
    def num_items(self) -> int:
        """V; ids are 1..V."""

    @property
    def item_columns(self) -> tuple[Column, ...]:
        """Features of items beside their id."""

    def item_values(self, name: str) -> NDArray[np.int64]:
        """[V + 1] a categorical feature's id for every item; entry 0 is of no item."""

    def item_bags(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A multi-valued feature's ids, item after item, and how many each item has [V + 1]."""

    def item_numbers(self, name: str) -> NDArray[np.float64]:
        """[V + 1] a dense feature of every item; entry 0 is of no item."""

    def item_counts(self) -> NDArray[np.int64]:
        """[V + 1] how often each item is a training event."""


def item_columns(schema: ItemCatalogue, names: Sequence[str]) -> list[Column]:
    """The columns of the features that describe an item, its own id among them if named.

    Raises:
        ValueError: on a name that the data do not have, one given twice, or none that has ids.
    """
    if not hasattr(schema, "num_items") or not hasattr(schema, "item_columns"):
        raise ValueError(f"schema must be that of a session data module, got {type(schema).__name__}.")
    known = {ITEM: Column(ITEM, "categorical", schema.num_items + 1)}
    known |= {column.name: column for column in schema.item_columns}
    for name in names:
        if name not in known:
            raise ValueError(f"item_features names '{name}', which items do not have{did_you_mean(name, list(known))}")
        if list(names).count(name) > 1:
            raise ValueError(f"item_features names '{name}' twice.")
    columns = [known[name] for name in names]
    if all(column.kind == "dense" for column in columns):
        raise ValueError(f"item_features must name a feature with ids, such as '{ITEM}'; got {list(names)}.")
    return columns


def with_ids(columns: Sequence[Column]) -> list[Column]:
    """Those of the columns that have a table."""
    return [column for column in columns if column.kind != "dense"]


def item_side(schema: ItemCatalogue, columns: Sequence[Column], fusion: FusionFactory, embedding_dim: int) -> ItemSide:
    """What turns ids into vectors; see NextItemTask for the arguments.

    Raises:
        ValueError: if the fusion is none.
    """
    embedded = with_ids(columns)
    dense = [schema.item_numbers(column.name) for column in columns if column.kind == "dense"]
    numbers = Projected(_standardised(np.stack(dense, axis=1)), embedding_dim) if dense else None
    if [column.name for column in embedded] == [ITEM]:
        return ItemSide(numbers=numbers)
    values = [_values(schema, column.name) for column in embedded if column.kind == "categorical"]
    features = torch.stack(values) if values else torch.empty(0, schema.num_items + 1, dtype=torch.int64)
    bags = {
        column.name: ItemBags(*(torch.from_numpy(part) for part in schema.item_bags(column.name)))
        for column in embedded
        if column.kind == "multi_valued"
    }
    fused = fusion_module("NextItemTask", fusion, len(embedded), embedding_dim)
    return ItemSide(features, bags, fused, numbers)


def feature_heads(schema: ItemCatalogue, predict: Mapping[str, float], embedding_dim: int) -> FeatureHeads | None:
    """Classifiers of item features, or None where none is to be predicted.

    Raises:
        ValueError: on a name that the data do not have, a column without one id an item, or a negative weight.
    """
    if not predict:
        return None
    kinds = {column.name: column.kind for column in schema.item_columns}
    known = {column.name: column for column in schema.item_columns if column.kind == "categorical"}
    for name, weight in predict.items():
        if kinds.get(name) == "multi_valued":
            raise ValueError(f"predict takes columns with one value an item; '{name}' is multi-valued.")
        if kinds.get(name) == "dense":
            raise ValueError(f"predict takes columns with ids; '{name}' is dense.")
        if name not in known:
            raise ValueError(f"predict names '{name}', which items do not have{did_you_mean(name, list(known))}")
        check_at_least("predict", f"the weight of '{name}'", weight, 0)
    values = [_values(schema, name) for name in predict]
    num_values = [known[name].num_embeddings or 0 for name in predict]
    return FeatureHeads(values, num_values, list(predict.values()), embedding_dim)


def _values(schema: ItemCatalogue, name: str) -> Tensor:
    values = np.arange(schema.num_items + 1) if name == ITEM else schema.item_values(name)
    return torch.from_numpy(values.astype(np.int64))


def _standardised(numbers: NDArray[np.float64]) -> Tensor:
    """Columns [V + 1, C] less their mean over the items, in standard deviations: float32; a constant column is 0."""
    # Below 1 first, so that no square overflows.
    largest = np.abs(numbers).max(axis=0)
    centred = numbers / np.where(largest > 0, largest, 1.0)
    centred -= centred[1:].mean(axis=0)
    deviations = centred[1:].std(axis=0)
    scaled = centred / np.where(deviations > 0, deviations, 1.0)
    scaled[0] = 0.0
    return torch.from_numpy(scaled.astype(np.float32))
