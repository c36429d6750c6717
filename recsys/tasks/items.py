"""From item ids to item vectors, and from states to features: the two ends of a next-item task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.tables import Bag, TableCollection
from recsys.tables.named_modules import NamedModules
from recsys.tasks.equal_items import bag_keys, row_keys, twins


class ItemBags(nn.Module):
    """The ids of a multi-valued feature, item after item.

    Shape:
        ids [N] in [0, V] -> Bag of values [M], lengths [N]

    Args:
        values: [T] ids of the feature.
        lengths: [V + 1] how many each item has, with lengths.sum() == T.
    """

    def __init__(self, values: Tensor, lengths: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values)
        self.register_buffer("lengths", lengths)

    def forward(self, ids: Tensor) -> Bag:
        """The bags of some items."""
        all_lengths = self.get_buffer("lengths")
        lengths = all_lengths[ids]
        # How far an item's ids lie from where they go.
        shifts = (all_lengths.cumsum(0) - all_lengths)[ids] - (lengths.cumsum(0) - lengths)
        places = shifts.repeat_interleave(lengths)
        return Bag(self.get_buffer("values")[places + torch.arange(len(places), device=ids.device)], lengths)


class Projected(nn.Module):
    """Vectors that are given for items, kept as they are, and brought to width D by a trained layer.

    Shape:
        ids [N] in [0, V] -> [N, D]

    Args:
        given: [V + 1, T], finite.
        embedding_dim: D.
    """

    def __init__(self, given: Tensor, embedding_dim: int) -> None:
        super().__init__()
        self.register_buffer("given", given)
        self.projection = nn.Linear(given.shape[1], embedding_dim)

    def forward(self, ids: Tensor) -> Tensor:
        """The projected vectors of some items."""
        projected: Tensor = self.projection(self.get_buffer("given")[ids])
        return projected


class ItemSide(nn.Module):
    """Vectors of items, from their ids alone or from what describes them.

    Shape:
        ids [N] in [1, V] -> [N, D]

    Args:
        features: [F1, V + 1] for each single-valued feature, its id for every item; None where the item's own id is the
            one feature.
        bags: multi-valued features by name.
        fusion: [N, F, D] -> [N, D], features in the order of the collection; needed with several.
        numbers: of the items' numeric columns, added.
    """

    def __init__(
        self,
        features: Tensor | None = None,
        bags: Mapping[str, ItemBags] | None = None,
        fusion: nn.Module | None = None,
        numbers: Projected | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("features", features)
        self.bags = NamedModules(bags or {})
        self.fusion = fusion
        self.numbers = numbers

    def alike(self, collection: TableCollection) -> Tensor | None:
        """[V] for every item the row of the first that has the same vector, whatever is trained; None if all differ."""
        likeness = {feature.name: collection.table(feature.table).likeness() for feature in collection.features}
        features, single = self._buffers["features"], [name for name in likeness if name not in self.bags._modules]
        if features is None:
            (own,) = likeness.values()
            if own is None:
                return None
            features = torch.arange(len(own), device=own.device).unsqueeze(0)

        def keys_of(name: str, ids: Tensor) -> Tensor:
            """Ids of a feature, or what ids of one vector have in common."""
            own = likeness[name]
            return ids if own is None else own.to(ids.device)[ids]

        keys = [keys_of(name, ids) for name, ids in zip(single, features, strict=True)]
        for name, bag in self.bags.named_children():
            keys.append(bag_keys(keys_of(name, bag.get_buffer("values")), bag.get_buffer("lengths")))
        if self.numbers is not None:
            keys.append(row_keys(self.numbers.get_buffer("given")))
        return twins([each[1:] for each in keys])

    def forward(self, collection: TableCollection, ids: Tensor) -> Tensor:
        """One lookup of all features of the items."""
        features = self.get_buffer("features") if self._buffers["features"] is not None else None
        bags = {name: bags(ids) for name, bags in self.bags.named_children()}
        embedded: Tensor = collection(ids.unsqueeze(0) if features is None else features[:, ids], bags)
        vectors: Tensor = embedded.squeeze(1) if self.fusion is None else self.fusion(embedded)
        return vectors if self.numbers is None else vectors + self.numbers(ids)


@torch.no_grad()
def item_matrix(
    side: ItemSide, collection: TableCollection, num_items: int, chunk_items: int, device: torch.device
) -> Tensor:
    """Vectors of all items [V, D], made `chunk_items` at a time; row r is item r + 1.

    Items of one description have the vector of the first of them.
    """
    ids = torch.arange(1, num_items + 1, device=device)
    vectors = torch.cat([side(collection, chunk) for chunk in ids.split(chunk_items)])
    alike = side.alike(collection)
    return vectors if alike is None else vectors.index_select(0, alike.to(device))


class FeatureHeads(nn.Module):
    """Classifiers of the features of the item to come, one linear layer for each.

    Shape:
        hidden [P, D], targets [P] item ids, the number that sums over targets are divided by -> scalar loss

    Args:
        values: [V + 1] for each feature, its id for every item.
        num_values: how many ids each feature has.
        weights: of the features' losses.
        embedding_dim: D.
    """

    def __init__(
        self, values: Sequence[Tensor], num_values: Sequence[int], weights: Sequence[float], embedding_dim: int
    ) -> None:
        super().__init__()
        self.register_buffer("values", torch.stack(list(values)))
        self.weights = tuple(weights)
        self.layers = nn.ModuleList(nn.Linear(embedding_dim, number) for number in num_values)

    def forward(self, hidden: Tensor, targets: Tensor, num_targets: float | Tensor) -> Tensor:
        """Weighted sum of the mean cross-entropies; 0 without targets. An item without a known value, id 0, adds 0."""
        total = torch.zeros((), device=hidden.device)
        for layer, values, weight in zip(self.layers.children(), self.get_buffer("values"), self.weights, strict=True):
            with torch.autocast(hidden.device.type, enabled=False):
                logits = layer(hidden.to(layer.get_parameter("weight").dtype)).float()
            loss = F.cross_entropy(logits, values[targets], ignore_index=0, reduction="sum")
            total = total + weight * loss / num_targets
        return total
