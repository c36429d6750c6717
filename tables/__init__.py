"""Embedding tables: the methods, the collection that fuses them, and a drop-in for nn.Embedding.

torch alone is enough; fbgemm is imported when an FbgemmLookup is built, torchrec when a TorchrecLookup is built or a
ManagedCollisionTable first gives out rows.
"""

from recsys.tables.base import DEFAULT_INIT_STD, PhysicalTable, Table
from recsys.tables.collection import TableCollection
from recsys.tables.dynamic import DynamicTable, FreshRows
from recsys.tables.embedding import Embedding
from recsys.tables.eviction import LFU, LRU, DistanceLFU, EvictionPolicy
from recsys.tables.fbgemm_lookup import FbgemmLookup
from recsys.tables.features import Bag, Feature
from recsys.tables.full import FullTable
from recsys.tables.hashing import HashTable
from recsys.tables.lookup import Lookup
from recsys.tables.managed_collision import ManagedCollisionTable
from recsys.tables.mixed_dim import MixedDimTable, power_law_dims, power_law_dims_for_budget
from recsys.tables.optimizers import SGD, Adagrad, Adam, DenseGradient, Frozen, RowWiseAdagrad, TableOptimizer
from recsys.tables.partitions import Coprime, MixedRadix, Partition
from recsys.tables.qr import QRConcatTable, QRSumTable, QRTable
from recsys.tables.sharding_plan import Sharding, TableSharding
from recsys.tables.torch_lookup import TorchLookup
from recsys.tables.torchrec_lookup import TorchrecLookup
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
