"""From item ids to item vectors, and from states to features: the two ends of a next-item task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.tables import Bag, TableCollection
from recsys.tables.collection import NamedModules


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


class ItemSide(nn.Module):
    """Vectors of items, from their ids alone or from what describes them.

    Shape:
        ids [N] in [1, V] -> [N, D]

    Args:
        features: [F1, V + 1] for each single-valued feature, its id for every item; None where the item's own id is the
            one feature.
        bags: multi-valued features by name.
        fusion: [N, F, D] -> [N, D], features in the order of the collection; needed with several.
        text: [V + 1, T] vectors of the items' texts, kept as they are; None without.
        text_projection: [N, T] -> [N, D], added; needed with text.
    """

    def __init__(
        self,
        features: Tensor | None = None,
        bags: Mapping[str, ItemBags] | None = None,
        fusion: nn.Module | None = None,
        text: Tensor | None = None,
        text_projection: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("features", features)
        self.register_buffer("text", text)
        self.bags = NamedModules(bags or {})
        self.fusion = fusion
        self.text_projection = text_projection

    def forward(self, collection: TableCollection, ids: Tensor) -> Tensor:
        """One lookup of all features of the items."""
        features = self.get_buffer("features") if self._buffers["features"] is not None else None
        bags = {name: bags(ids) for name, bags in self.bags.named_children()}
        embedded: Tensor = collection(ids.unsqueeze(0) if features is None else features[:, ids], bags)
        vectors: Tensor = embedded.squeeze(1) if self.fusion is None else self.fusion(embedded)
        if self.text_projection is not None:
            vectors = vectors + self.text_projection(self.get_buffer("text")[ids])
        return vectors


@torch.no_grad()
def item_matrix(
    side: ItemSide, collection: TableCollection, num_items: int, chunk_items: int, device: torch.device
) -> Tensor:
    """Vectors of all items [V, D], made `chunk_items` at a time; row r is item r + 1."""
    ids = torch.arange(1, num_items + 1, device=device)
    return torch.cat([side(collection, chunk) for chunk in ids.split(chunk_items)])


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
        total = hidden.new_zeros(())
        for layer, values, weight in zip(self.layers, self.get_buffer("values"), self.weights, strict=True):
            loss = F.cross_entropy(layer(hidden).float(), values[targets], ignore_index=0, reduction="sum")
            total = total + weight * loss / num_targets
        return total
