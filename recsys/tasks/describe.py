"""From a data set's items and the user's words to what describes an item."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys.data.schema import Column
from recsys.tasks.assignment import did_you_mean
from recsys.tasks.items import FeatureHeads, ItemBags, ItemSide

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
        """Categorical and multi-valued features of items beside their id."""

    def item_values(self, name: str) -> NDArray[np.int64]:
        """[V + 1] a feature's id for every item; entry 0 is of no item."""

    def item_bags(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A multi-valued feature's ids, item after item, and how many each item has [V + 1]."""

    def item_counts(self) -> NDArray[np.int64]:
        """[V + 1] how often each item is a training event."""

    def item_vectors(self, name: str) -> NDArray[np.float32]:
        """[V + 1, T] vectors that come with the items, such as those of their texts."""


def item_columns(schema: ItemCatalogue, names: Sequence[str]) -> list[Column]:
    """The columns of the features that describe an item, its own id among them if named.

    Raises:
        ValueError: on a name that the data do not have, or none.
    """
    if not names:
        raise ValueError("item_features must not be empty.")
    known = {ITEM: Column(ITEM, "categorical", schema.num_items + 1)}
    known |= {column.name: column for column in schema.item_columns}
    for name in names:
        if name not in known:
            raise ValueError(f"item_features names '{name}', which items do not have{did_you_mean(name, list(known))}")
    return [known[name] for name in names]


def item_side(
    schema: ItemCatalogue, columns: Sequence[Column], fusion: FusionFactory, text: str | None, embedding_dim: int
) -> ItemSide:
    """What turns ids into vectors; see NextItemTask for the arguments."""
    vectors = None if text is None else torch.from_numpy(schema.item_vectors(text))
    projection = None if vectors is None else nn.Linear(vectors.shape[1], embedding_dim)
    if [column.name for column in columns] == [ITEM]:
        return ItemSide(text=vectors, text_projection=projection)
    values = [_values(schema, column.name) for column in columns if column.kind == "categorical"]
    features = torch.stack(values) if values else torch.empty(0, schema.num_items + 1, dtype=torch.int64)
    bags = {
        column.name: ItemBags(*(torch.from_numpy(part) for part in schema.item_bags(column.name)))
        for column in columns
        if column.kind == "multi_valued"
    }
    return ItemSide(features, bags, fusion(len(columns), embedding_dim), vectors, projection)


def feature_heads(schema: ItemCatalogue, predict: Mapping[str, float], embedding_dim: int) -> FeatureHeads | None:
    """Classifiers of item features, or None where none is to be predicted.

    Raises:
        ValueError: on a name that the data do not have, a multi-valued column, or a negative weight.
    """
    if not predict:
        return None
    known = {column.name: column for column in schema.item_columns if column.kind == "categorical"}
    several = [column.name for column in schema.item_columns if column.kind == "multi_valued"]
    for name, weight in predict.items():
        if name in several:
            raise ValueError(f"predict takes columns with one value an item; '{name}' is multi-valued.")
        if name not in known:
            raise ValueError(f"predict names '{name}', which items do not have{did_you_mean(name, list(known))}")
        if weight < 0:
            raise ValueError(f"predict: the weight of '{name}' must be at least 0, got {weight}.")
    values = [_values(schema, name) for name in predict]
    num_values = [known[name].num_embeddings or 0 for name in predict]
    return FeatureHeads(values, num_values, list(predict.values()), embedding_dim)


def _values(schema: ItemCatalogue, name: str) -> Tensor:
    values = np.arange(schema.num_items + 1) if name == ITEM else schema.item_values(name)
    return torch.from_numpy(values.astype(np.int64))
