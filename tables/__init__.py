"""Embedding tables: the methods, the collection that fuses them, and a drop-in for nn.Embedding.

torch alone is enough; fbgemm is imported when an FbgemmLookup is built, torchrec when a TorchrecLookup is built or a
ManagedCollisionTable first gives out rows.
"""

from recsys.tables.base import DEFAULT_INIT_STD, Table
from recsys.tables.collection import TableCollection
from recsys.tables.deep_hash import DeepHashTable
from recsys.tables.embedding import Embedding
from recsys.tables.embedding_bag import EmbeddingBag
from recsys.tables.eviction import LFU, LRU, DistanceLFU, EvictionPolicy
from recsys.tables.features import Bag, Embedded, Feature
from recsys.tables.fitting import Fitted
from recsys.tables.full import FullTable
from recsys.tables.hash_embedding import HashEmbeddingTable
from recsys.tables.hashing import HashTable
from recsys.tables.lookups.base import Lookup
from recsys.tables.lookups.fbgemm import FbgemmLookup
from recsys.tables.lookups.numba import NumbaLookup
from recsys.tables.lookups.optimizers import SGD, Adagrad, Adam, DenseGradient, Frozen, RowWiseAdagrad, TableOptimizer
from recsys.tables.lookups.torch import TorchLookup
from recsys.tables.managed_collision import ManagedCollisionTable
from recsys.tables.mixed_dim import MixedDimTable, power_law_dims, power_law_dims_for_budget
from recsys.tables.physical import PhysicalTable
from recsys.tables.pruned import PrunedTable
from recsys.tables.qr import QRConcatTable, QRSumTable, QRTable
from recsys.tables.routing.partitions import Coprime, MixedRadix, Partition
from recsys.tables.sharded.lookup import TorchrecLookup
from recsys.tables.sharded.plan import Sharding, TableSharding
from recsys.tables.swap_rules import Swapped, SwapReport, SwapRule
from recsys.tables.swapping import swap_
from recsys.tables.tied_head import TiedHead
from recsys.tables.unified import UnifiedTable

__all__ = [
    "DEFAULT_INIT_STD",
    "LFU",
    "LRU",
    "SGD",
    "Adagrad",
    "Adam",
    "Bag",
    "Coprime",
    "DeepHashTable",
    "DenseGradient",
    "DistanceLFU",
    "Embedded",
    "Embedding",
    "EmbeddingBag",
    "EvictionPolicy",
    "FbgemmLookup",
    "Feature",
    "Fitted",
    "Frozen",
    "FullTable",
    "HashEmbeddingTable",
    "HashTable",
    "Lookup",
    "ManagedCollisionTable",
    "MixedDimTable",
    "MixedRadix",
    "NumbaLookup",
    "Partition",
    "PhysicalTable",
    "PrunedTable",
    "QRConcatTable",
    "QRSumTable",
    "QRTable",
    "RowWiseAdagrad",
    "Sharding",
    "SwapReport",
    "SwapRule",
    "Swapped",
    "Table",
    "TableCollection",
    "TableOptimizer",
    "TableSharding",
    "TiedHead",
    "TorchLookup",
    "TorchrecLookup",
    "UnifiedTable",
    "power_law_dims",
    "power_law_dims_for_budget",
    "swap_",
]
