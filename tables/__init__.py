"""Embedding tables: the methods, the collection that fuses them, and a drop-in for nn.Embedding.

torch alone is enough; fbgemm is imported when an FbgemmLookup is built, torchrec when a TorchrecLookup is built or a
ManagedCollisionTable first gives out rows.
"""

from recsys.tables.base import DEFAULT_INIT_STD, PhysicalTable, Table
from recsys.tables.collection import TableCollection
from recsys.tables.dynamic import DynamicTable, FreshRows
from recsys.tables.embedding import Embedding
from recsys.tables.eviction import LFU, LRU, DistanceLFU, EvictionPolicy
from recsys.tables.features import Bag, Feature
from recsys.tables.full import FullTable
from recsys.tables.hashing import HashTable
from recsys.tables.lookups.base import Lookup
from recsys.tables.lookups.fbgemm import FbgemmLookup
from recsys.tables.lookups.optimizers import SGD, Adagrad, Adam, DenseGradient, Frozen, RowWiseAdagrad, TableOptimizer
from recsys.tables.lookups.torch import TorchLookup
from recsys.tables.managed_collision import ManagedCollisionTable
from recsys.tables.mixed_dim import MixedDimTable, power_law_dims, power_law_dims_for_budget
from recsys.tables.qr import QRConcatTable, QRSumTable, QRTable
from recsys.tables.routing.partitions import Coprime, MixedRadix, Partition
from recsys.tables.sharded.lookup import TorchrecLookup
from recsys.tables.sharded.plan import Sharding, TableSharding
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
    "DenseGradient",
    "DistanceLFU",
    "DynamicTable",
    "Embedding",
    "EvictionPolicy",
    "FbgemmLookup",
    "Feature",
    "FreshRows",
    "Frozen",
    "FullTable",
    "HashTable",
    "Lookup",
    "ManagedCollisionTable",
    "MixedDimTable",
    "MixedRadix",
    "Partition",
    "PhysicalTable",
    "QRConcatTable",
    "QRSumTable",
    "QRTable",
    "RowWiseAdagrad",
    "Sharding",
    "Table",
    "TableCollection",
    "TableOptimizer",
    "TableSharding",
    "TorchLookup",
    "TorchrecLookup",
    "UnifiedTable",
    "power_law_dims",
    "power_law_dims_for_budget",
]
