"""Embedding tables: the methods, the collection that fuses them, and a drop-in for nn.Embedding.

torch alone is enough; fbgemm is imported when an FbgemmLookup is built, torchrec when a TorchrecLookup is built or a
ManagedCollisionTable first gives out rows.
"""

from recsys.tables.adaptations import Adaptation, AllBigrams, NGrams, Pieces, Prefixes
from recsys.tables.base import DEFAULT_INIT_STD, Table
from recsys.tables.collection import TableCollection
from recsys.tables.combined import CombinedTable, ConcatTable, GateTable, SumTable
from recsys.tables.content import ContentTable
from recsys.tables.deep_hash import DeepHashTable
from recsys.tables.embedding import Embedding
from recsys.tables.eviction import LFU, LRU, DistanceLFU, EvictionPolicy
from recsys.tables.features import Bag, Embedded, Feature
from recsys.tables.full import FullTable
from recsys.tables.hash_embedding import HashEmbeddingTable
from recsys.tables.hashing import HashTable
from recsys.tables.item_codes import CodeFile, CodeSource, RandomCodes, StoredCodes
from recsys.tables.item_vectors import RandomVectors, StoredVectors, VectorFile, VectorSource
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
from recsys.tables.semantic_id import SemanticIdTable
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
    "Adaptation",
    "AllBigrams",
    "Bag",
    "CodeFile",
    "CodeSource",
    "CombinedTable",
    "ConcatTable",
    "ContentTable",
    "Coprime",
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
    "GateTable",
    "HashEmbeddingTable",
    "HashTable",
    "Lookup",
    "ManagedCollisionTable",
    "MixedDimTable",
    "MixedRadix",
    "NGrams",
    "NumbaLookup",
    "Partition",
    "PhysicalTable",
    "Pieces",
    "Prefixes",
    "PrunedTable",
    "QRConcatTable",
    "QRSumTable",
    "QRTable",
    "RandomCodes",
    "RandomVectors",
    "RowWiseAdagrad",
    "SemanticIdTable",
    "Sharding",
    "StoredCodes",
    "StoredVectors",
    "SumTable",
    "Table",
    "TableCollection",
    "TableOptimizer",
    "TableSharding",
    "TorchLookup",
    "TorchrecLookup",
    "UnifiedTable",
    "VectorFile",
    "VectorSource",
    "power_law_dims",
    "power_law_dims_for_budget",
]
