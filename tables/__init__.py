"""Embedding tables: the methods, the collection that fuses them, and a drop-in for nn.Embedding.

torch alone is enough; fbgemm is imported when an FbgemmLookup is built, torchrec when a TorchrecLookup is built or a
ManagedCollisionTable first gives out rows.
"""

from recsys.tables.adaptive import AdaptiveTable, hot_rows
from recsys.tables.alpt import ALPTTable
from recsys.tables.base import DEFAULT_INIT_STD, Table
from recsys.tables.codebook import CodebookTable
from recsys.tables.collection import TableCollection
from recsys.tables.compact import CompactTable
from recsys.tables.deep_hash import DeepHashTable
from recsys.tables.embedding import Embedding
from recsys.tables.eviction import LFU, LRU, DistanceLFU, EvictionPolicy
from recsys.tables.features import Bag, Embedded, Feature
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
from recsys.tables.mlet import MLETTable
from recsys.tables.optembed import OptEmbedTable
from recsys.tables.pep import PEPTable
from recsys.tables.physical import PhysicalTable
from recsys.tables.product_quantized import DPQTable, MGQETable
from recsys.tables.pruned import PrunedTable
from recsys.tables.qr import QRConcatTable, QRSumTable, QRTable
from recsys.tables.quantized import QuantizedTable
from recsys.tables.routing.partitions import Coprime, MixedRadix, Partition
from recsys.tables.searched import SearchedTable
from recsys.tables.serving import quantized, served
from recsys.tables.sharded.lookup import TorchrecLookup
from recsys.tables.sharded.plan import Sharding, TableSharding
from recsys.tables.sparse import SparseTable
from recsys.tables.unified import UnifiedTable

__all__ = [
    "DEFAULT_INIT_STD",
    "LFU",
    "LRU",
    "SGD",
    "ALPTTable",
    "Adagrad",
    "Adam",
    "AdaptiveTable",
    "Bag",
    "CodebookTable",
    "CompactTable",
    "Coprime",
    "DPQTable",
    "DeepHashTable",
    "DenseGradient",
    "DistanceLFU",
    "Embedded",
    "Embedding",
    "EvictionPolicy",
    "FbgemmLookup",
    "Feature",
    "Frozen",
    "FullTable",
    "HashEmbeddingTable",
    "HashTable",
    "Lookup",
    "MGQETable",
    "MLETTable",
    "ManagedCollisionTable",
    "MixedDimTable",
    "MixedRadix",
    "NumbaLookup",
    "OptEmbedTable",
    "PEPTable",
    "Partition",
    "PhysicalTable",
    "PrunedTable",
    "QRConcatTable",
    "QRSumTable",
    "QRTable",
    "QuantizedTable",
    "RowWiseAdagrad",
    "SearchedTable",
    "Sharding",
    "SparseTable",
    "Table",
    "TableCollection",
    "TableOptimizer",
    "TableSharding",
    "TorchLookup",
    "TorchrecLookup",
    "UnifiedTable",
    "hot_rows",
    "power_law_dims",
    "power_law_dims_for_budget",
    "quantized",
    "served",
]
