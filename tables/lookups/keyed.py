"""A collection where torchrec's EmbeddingBagCollection stood: KeyedJaggedTensors in, KeyedTensors out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from recsys.argument_types import typed
from recsys.tables.collection import TableCollection
from recsys.tables.features import Bag
from recsys.tables.traced import call_of, is_traced

if TYPE_CHECKING:
    from torchrec.modules.embedding_configs import EmbeddingBagConfig
    from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor


class KeyedCollection(nn.Module):
    """A TableCollection for programs that speak torchrec's types, as torchrec's own DLRM does.

    Weights of a KeyedJaggedTensor multiply vectors that are pooled by sum, and are refused with a mean.

    Args:
        collection: all of whose features are pooled, by sum or mean.

    Raises:
        ValueError: if a feature has one id per sample or is a sequence.
    """

    @typed
    def __init__(self, collection: TableCollection) -> None:
        super().__init__()
        for feature in collection.features:
            if feature.pooling not in ("sum", "mean"):
                raise ValueError(
                    f"KeyedCollection: feature '{feature.name}' must have pooling 'sum' or 'mean', since a "
                    f"KeyedJaggedTensor has bags, got {feature.pooling!r}."
                )
        self.collection = collection

    def embedding_bag_configs(self) -> list[EmbeddingBagConfig]:
        """The logical tables, as torchrec describes them."""
        from torchrec.modules.embedding_configs import EmbeddingBagConfig, PoolingType

        names = list(dict.fromkeys(feature.table for feature in self.collection.features))
        configs = []
        for name in names:
            features = [feature for feature in self.collection.features if feature.table == name]
            table = self.collection.table(name)
            pooling = PoolingType.MEAN if features[0].pooling == "mean" else PoolingType.SUM
            configs.append(
                EmbeddingBagConfig(
                    name=name,
                    num_embeddings=table.num_embeddings,
                    embedding_dim=table.embedding_dim,
                    feature_names=[feature.name for feature in features],
                    pooling=pooling,
                )
            )
        return configs

    def forward(self, features: KeyedJaggedTensor) -> KeyedTensor:
        """Pooled vectors of every feature, by its name.

        Raises:
            ValueError: if it lacks a feature, or an id is out of range.
        """
        from torchrec.sparse.jagged_tensor import KeyedTensor

        if is_traced(features):
            return call_of(self, features)
        names = [feature.name for feature in self.collection.features]
        missing = [name for name in names if name not in features.keys()]
        if missing:
            raise ValueError(f"KeyedCollection: features {missing} are not among {features.keys()}.")
        jagged = features.to_dict()
        bags = {
            name: Bag(jagged[name].values(), jagged[name].lengths(), jagged[name].weights_or_none()) for name in names
        }
        no_ids = features.values().new_zeros(0, features.stride())
        vectors = self.collection(no_ids, bags)
        return KeyedTensor(names, [self.collection.embedding_dim] * len(names), vectors.flatten(1))
