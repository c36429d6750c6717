"""Embedding tables: the methods, the collection that fuses them, and a drop-in for nn.Embedding.

torch alone is enough; fbgemm is imported when an FbgemmLookup is built, torchrec when a TorchrecLookup is built or a
ManagedCollisionTable first gives out rows.
"""

from recsys.tables.adaptations import Adaptation, AllBigrams, NGrams, Pieces, Prefixes
from recsys.tables.adaptive import AdaptiveTable, hot_rows
from recsys.tables.alpt import ALPTTable
from recsys.tables.autodim import AutoDimTable
from recsys.tables.autosrh import AutoSrhTable
from recsys.tables.base import DEFAULT_INIT_STD, Table
from recsys.tables.cafe import CAFETable
from recsys.tables.cce import CCETable
from recsys.tables.codebook import CodebookTable
from recsys.tables.collection import TableCollection
from recsys.tables.combined import CombinedTable
from recsys.tables.combined_concat import ConcatTable
from recsys.tables.combined_sum import SumTable
from recsys.tables.compact import CompactTable
from recsys.tables.content import ContentTable
from recsys.tables.dedup import DedupTable
from recsys.tables.deep_hash import DeepHashTable
from recsys.tables.deeplight import DeepLightTable
from recsys.tables.double_hash import DoubleHashTable
from recsys.tables.dpq import DPQTable
from recsys.tables.embedding import Embedding
from recsys.tables.embedding_bag import EmbeddingBag
from recsys.tables.eviction import LFU, LRU, DistanceLFU, EvictionPolicy
from recsys.tables.features import Bag, Embedded, Feature
from recsys.tables.fitting import Fitted
from recsys.tables.full import FullTable
from recsys.tables.gate import GateTable
from recsys.tables.gradual_pruning import GradualPruningTable
from recsys.tables.hash_embedding import HashEmbeddingTable
from recsys.tables.hashing import HashTable
from recsys.tables.head_tail import HeadTailTable
from recsys.tables.item_codes import CodeFile, CodeSource, RandomCodes, StoredCodes
from recsys.tables.item_vectors import RandomVectors, StoredVectors, VectorFile, VectorSource
from recsys.tables.lookups.base import Lookup
from recsys.tables.lookups.fbgemm import FbgemmLookup
from recsys.tables.lookups.keyed import KeyedCollection
from recsys.tables.lookups.numba import NumbaLookup
from recsys.tables.lookups.optimizers import SGD, Adagrad, Adam, DenseGradient, Frozen, RowWiseAdagrad, TableOptimizer
from recsys.tables.lookups.torch import TorchLookup
from recsys.tables.managed_collision import ManagedCollisionTable
from recsys.tables.mgqe import MGQETable
from recsys.tables.mixed_dim import MixedDimTable, power_law_dims, power_law_dims_for_budget
from recsys.tables.mlet import MLETTable
from recsys.tables.murmur import MurmurTable
from recsys.tables.optembed import OptEmbedTable
from recsys.tables.path_qr import PathQRTable
from recsys.tables.pep import PEPTable
from recsys.tables.physical import PhysicalTable
from recsys.tables.pruned import PrunedTable
from recsys.tables.qr import QRConcatTable, QRSumTable, QRTable
from recsys.tables.quantized import QuantizedTable
from recsys.tables.robe import RobeTable
from recsys.tables.routing.partitions import Coprime, MixedRadix, Partition
from recsys.tables.searched import SearchedTable
from recsys.tables.semantic_id import SemanticIdTable
from recsys.tables.serving import quantized, served
from recsys.tables.sharded.lookup import TorchrecLookup
from recsys.tables.sharded.plan import Sharding, TableSharding
from recsys.tables.sparse import SparseTable
from recsys.tables.swap_rules import Swapped, SwapReport, SwapRule
from recsys.tables.swapping import swap_
from recsys.tables.tensor_train import TTTable
from recsys.tables.tied_head import TiedHead
from recsys.tables.unified import UnifiedTable

__all__ = [
    "DEFAULT_INIT_STD",
    "LFU",
    "LRU",
    "SGD",
    "ALPTTable",
    "Adagrad",
    "Adam",
    "Adaptation",
    "AdaptiveTable",
    "AllBigrams",
    "AutoDimTable",
    "AutoSrhTable",
    "Bag",
    "CAFETable",
    "CCETable",
    "CodeFile",
    "CodeSource",
    "CodebookTable",
    "CombinedTable",
    "CompactTable",
    "ConcatTable",
    "ContentTable",
    "Coprime",
    "DPQTable",
    "DedupTable",
    "DeepHashTable",
    "DeepLightTable",
    "DenseGradient",
    "DistanceLFU",
    "DoubleHashTable",
    "Embedded",
    "Embedding",
    "EmbeddingBag",
    "EvictionPolicy",
    "FbgemmLookup",
    "Feature",
    "Fitted",
    "Frozen",
    "FullTable",
    "GateTable",
    "GradualPruningTable",
    "HashEmbeddingTable",
    "HashTable",
    "HeadTailTable",
    "KeyedCollection",
    "Lookup",
    "MGQETable",
    "MLETTable",
    "ManagedCollisionTable",
    "MixedDimTable",
    "MixedRadix",
    "MurmurTable",
    "NGrams",
    "NumbaLookup",
    "OptEmbedTable",
    "PEPTable",
    "Partition",
    "PathQRTable",
    "PhysicalTable",
    "Pieces",
    "Prefixes",
    "PrunedTable",
    "QRConcatTable",
    "QRSumTable",
    "QRTable",
    "QuantizedTable",
    "RandomCodes",
    "RandomVectors",
    "RobeTable",
    "RowWiseAdagrad",
    "SearchedTable",
    "SemanticIdTable",
    "Sharding",
    "SparseTable",
    "StoredCodes",
    "StoredVectors",
    "SumTable",
    "SwapReport",
    "SwapRule",
    "Swapped",
    "TTTable",
    "Table",
    "TableCollection",
    "TableOptimizer",
    "TableSharding",
    "TiedHead",
    "TorchLookup",
    "TorchrecLookup",
    "UnifiedTable",
    "VectorFile",
    "VectorSource",
    "hot_rows",
    "power_law_dims",
    "power_law_dims_for_budget",
    "quantized",
    "served",
    "swap_",
]
