"""What every Table must satisfy: the examples, and a slow float64 oracle that knows nothing of lookups or groups."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product

import torch
from torch import Tensor

from recsys.tables import (
    LFU,
    LRU,
    AdaptiveTable,
    AllBigrams,
    ALPTTable,
    AutoDimTable,
    AutoSrhTable,
    Bag,
    CAFETable,
    CCETable,
    CodebookTable,
    CompactTable,
    ConcatTable,
    ContentTable,
    Coprime,
    DedupTable,
    DeepHashTable,
    DeepLightTable,
    DistanceLFU,
    DoubleHashTable,
    DPQTable,
    Feature,
    FullTable,
    GateTable,
    GradualPruningTable,
    HashEmbeddingTable,
    HashTable,
    HeadTailTable,
    ManagedCollisionTable,
    MGQETable,
    MixedDimTable,
    MixedRadix,
    MLETTable,
    MurmurTable,
    NGrams,
    OptEmbedTable,
    PathQRTable,
    PEPTable,
    Pieces,
    Prefixes,
    PrunedTable,
    QRConcatTable,
    QRSumTable,
    QRTable,
    QuantizedTable,
    RandomCodes,
    RandomVectors,
    RobeTable,
    SemanticIdTable,
    SparseTable,
    SumTable,
    Table,
    TableCollection,
    TTTable,
    UnifiedTable,
)
from recsys.tables.physical import named_generator

Factory = Callable[[str, int, int], Table]

SEMANTIC = partial(SemanticIdTable, codes=RandomCodes(2, 256), num_rows=997)
CONTENT = partial(ContentTable, vectors=RandomVectors(9))

EXAMPLES: dict[str, tuple[type[Table], dict]] = {
    "full": (FullTable, {}),
    "hash": (HashTable, {"num_rows": 701}),
    "hash-3": (HashTable, {"num_rows": 701, "num_lookups": 3}),
    "unified": (UnifiedTable, {"num_rows": 997, "num_lookups": 2}),
    "unified-12": (UnifiedTable, {"num_rows": 997, "num_lookups": 12}),
    "unified-fraction": (UnifiedTable, {"budget_fraction": 0.15}),
    "qr": (QRTable, {"num_remainders": 60}),
    "qr-3": (QRTable, {"partition": MixedRadix(3)}),
    "qr-coprime": (QRTable, {"partition": Coprime(2)}),
    "qr-sum": (QRSumTable, {"partition": Coprime(3)}),
    "qr-concat": (QRConcatTable, {}),
    "qr-concat-11": (QRConcatTable, {"partition": MixedRadix(11)}),
    "mixed-dim": (MixedDimTable, {"row_dim": 4}),
    "mixed-dim-odd": (MixedDimTable, {"row_dim": 6}),
    "mixed-dim-wide": (MixedDimTable, {"row_dim": 24}),
    "hash-embedding": (HashEmbeddingTable, {"num_rows": 701}),
    "hash-embedding-shared": (HashEmbeddingTable, {"num_rows": 701, "num_lookups": 3, "num_weights": 1_100}),
    "deep-hash": (DeepHashTable, {"hidden_dim": 16, "num_hashes": 32}),
    "double-hash": (DoubleHashTable, {"num_rows": 1_400}),
    "double-hash-owned": (DoubleHashTable, {"num_rows": 3_000}),
    "murmur": (MurmurTable, {"num_rows": 701}),
    "murmur-seed": (MurmurTable, {"num_rows": 701, "seed": 5}),
    "robe": (RobeTable, {"num_rows": 997, "num_chunks": 3}),
    "robe-aligned": (RobeTable, {"num_rows": 997, "num_chunks": 4, "aligned": True}),
    "robe-signed": (RobeTable, {"budget_fraction": 0.15, "num_chunks": 2, "signed": True}),
    "robe-aligned-signed": (RobeTable, {"num_rows": 997, "num_chunks": 1, "aligned": True, "signed": True}),
    "path-qr": (PathQRTable, {"budget_fraction": 0.4, "hidden_dim": 8}),
    "tensor-train": (TTTable, {"rank": 8}),
    "tensor-train-budget": (TTTable, {"budget_fraction": 0.2}),
    "cce": (CCETable, {"num_clusters": 701, "num_chunks": 2}),
    "cce-pointers": (CCETable, {"num_clusters": 500, "num_pointers": 900}),
    "pruned": (PrunedTable, {"num_rows": 900}),
    "head-tail": (HeadTailTable, {"num_head": 500, "num_rows": 997}),
    "head-tail-3": (HeadTailTable, {"num_head": 900, "num_rows": 701, "num_lookups": 3}),
    "adaptive": (AdaptiveTable, {"num_rows": 701}),
    "codebook": (CodebookTable, {"num_parts": 6, "num_choices": 200}),
    "dpq": (DPQTable, {"num_choices": 16}),
    "mgqe": (MGQETable, {"num_parts": 3, "num_choices": 40, "num_rare_choices": 10}),
    "dedup": (DedupTable, {"num_rows": 704}),
    "quantized": (QuantizedTable, {}),
    "quantized-steps": (QuantizedTable, {"precisions": ["float32", "int8", "int4"], "num_ids": [200, 900]}),
    "alpt": (ALPTTable, {}),
    "alpt-steps": (ALPTTable, {"precisions": ["int8", "int4"], "num_ids": [400]}),
    "mlet": (MLETTable, {"inner_dim": 40}),
    "cafe": (CAFETable, {"num_rows": 701, "interval": 1}),
    "compact": (CompactTable, {"num_rows": 900}),
    "compact-narrow": (CompactTable, {"budget_fraction": 0.1, "columns": [0, 3, 7, 8, 9, 20]}),
    "compact-int8": (CompactTable, {"num_rows": 900, "columns": list(range(12)), "precision": "int8"}),
    "compact-int4": (CompactTable, {"num_rows": 900, "columns": list(range(13)), "precision": "int4"}),
    "compact-int4-whole": (CompactTable, {"budget_fraction": 0.1, "precision": "int4"}),
    "compact-half": (CompactTable, {"num_rows": 900, "precision": "float16"}),
    "sparse": (SparseTable, {"num_values": 900 * 24}),
    "optembed": (OptEmbedTable, {"samples_widths": False}),
    "optembed-per-id": (OptEmbedTable, {"samples_widths": False, "per_id": True}),
    "autodim": (AutoDimTable, {"samples_widths": False}),
    "autosrh": (AutoSrhTable, {}),
    "deeplight": (DeepLightTable, {}),
    "gradual": (GradualPruningTable, {}),
    "pep": (PEPTable, {}),
    "pep-table": (PEPTable, {"per_column": False}),
    "semantic-prefixes": (SemanticIdTable, {"codes": RandomCodes(4, 256), "num_rows": 997}),
    "semantic-precomputed": (SemanticIdTable, {"codes": RandomCodes(4, 256), "num_rows": 997, "precompute": True}),
    "semantic-prefix-2": (SemanticIdTable, {"codes": RandomCodes(3, 20), "adaptation": Prefixes(2)}),
    "semantic-unigrams": (SemanticIdTable, {"codes": RandomCodes(6, 300), "adaptation": NGrams(1)}),
    "semantic-fourgram": (
        SemanticIdTable,
        {"codes": RandomCodes(4, 2048), "adaptation": NGrams(4), "budget_fraction": 0.3},
    ),
    "semantic-all-bigrams": (
        SemanticIdTable,
        {"codes": RandomCodes(3, 64), "adaptation": AllBigrams(), "num_rows": 800},
    ),
    "semantic-pieces": (SemanticIdTable, {"codes": RandomCodes(3, 900), "adaptation": Pieces()}),
    "content": (ContentTable, {"vectors": RandomVectors(9)}),
    "content-wide": (ContentTable, {"vectors": RandomVectors(40)}),
    "sum": (SumTable, {"tables": [FullTable, SEMANTIC, CONTENT]}),
    "sum-bias": (SumTable, {"tables": [FullTable, SEMANTIC], "bias": True}),
    "concat": (ConcatTable, {"tables": [partial(HashTable, num_rows=701), SEMANTIC], "dims": [8, 16]}),
    "gate": (GateTable, {"tables": [FullTable, SEMANTIC]}),
    "gate-of-networks": (GateTable, {"tables": [partial(DeepHashTable, hidden_dim=8, num_hashes=16), FullTable]}),
    "managed-lru": (ManagedCollisionTable, {"num_rows": 701, "policy": LRU(), "eviction_interval": 1}),
    "managed-lfu": (ManagedCollisionTable, {"num_rows": 701, "policy": LFU(), "eviction_interval": 1}),
    "managed-distance": (ManagedCollisionTable, {"num_rows": 701, "policy": DistanceLFU(1.5), "eviction_interval": 1}),
}

EMBEDDING_DIM = 24

UNLIKE = ("full", "hash-3", "mixed-dim", "hash-embedding", "pruned", "qr", "deep-hash", "managed-lru")
"""Examples that among them read rows in all ways there are."""


def spread(*choices: Sequence) -> list[tuple]:
    """Every example with every value of each choice, though not with all combinations of them but for UNLIKE ones."""
    found = {}
    for number, example in enumerate(EXAMPLES):
        combined = product(*choices) if example in UNLIKE else _rotated(choices, number)
        found |= {(example, *values): None for values in combined}
    return list(found)


def _rotated(choices: Sequence[Sequence], number: int) -> Iterator[tuple]:
    for turn in range(max(map(len, choices))):
        yield tuple(values[(turn + place * number) % len(values)] for place, values in enumerate(choices))


def make(example: str, name: str = "f", num_embeddings: int = 3_000, embedding_dim: int = EMBEDDING_DIM) -> Table:
    """An example table; a dynamic one has given its rows to ids drawn from the seed and the name."""
    table_type, arguments = EXAMPLES[example]
    table = table_type(name, num_embeddings, embedding_dim, **arguments)
    return settle(table, torch.randint(0, num_embeddings, (2_000,), generator=named_generator(name)))


def settle(table: Table, ids: Tensor) -> Table:
    """A dynamic table as it is once it has seen ids, from now on the same; any other table as it is."""
    if table.observes:
        table.observe(ids, Rows())
        table.eval()
    return table


class Rows:
    """Rows that nobody looks at."""

    def reset_rows(self, table, rows, values):
        pass

    def agree_on(self, tensors):
        pass

    def copy_rows(self, table, sources, targets):
        pass


def collect(
    example: str,
    features: Sequence[str],
    multi: Mapping[str, str] | None = None,
    sizes: Sequence[int] = (),
    **arguments,
) -> TableCollection:
    """A collection of one table per feature; `multi` gives the pooling of multi-valued features."""
    multi = multi or {}
    sizes = sizes or [3_000 - 100 * i for i in range(len(features))]
    tables = {name: make(example, name, size) for name, size in zip(features, sizes, strict=True)}
    return TableCollection([Feature(name, name, multi.get(name)) for name in features], tables, **arguments)


class Oracle:
    """Embeds one id after the other in float64, from dense copies of a collection's matrices and parameters."""

    def __init__(self, collection: TableCollection) -> None:
        self.collection = collection
        self.matrices = {
            name: collection.lookup.weight(name).double().clone().requires_grad_() for name in collection.lookup.tables
        }
        self.parameters = {
            feature.table: {
                name: value.detach().double().clone().requires_grad_()
                for name, value in collection.table(feature.table).named_parameters()
            }
            for feature in collection.features
        }
        self.read: dict[str, set[int]] = {name: set() for name in self.matrices}
        """Rows of each matrix that were asked for."""

    def vector(self, feature: Feature, identifier: int) -> Tensor:
        """[D] of one id."""
        table = self.collection.table(feature.table)
        physical, one = table.physical_tables(), torch.tensor([identifier])
        codes = table.rows_of(one)[:, 0].tolist() if physical else []
        for p, code in zip(physical, codes, strict=True):
            self.read[p.name] |= {code} - {-1}
        rows = [
            self.matrices[p.name][code] if code >= 0 else torch.zeros(p.row_dim, dtype=torch.float64)
            for p, code in zip(physical, codes, strict=True)
        ]
        row = torch.cat(rows) if rows else torch.zeros(0, dtype=torch.float64)
        parameters = {name: value.unsqueeze(0) for name, value in self.parameters[feature.table].items()}
        constants = table._own_constants(0)
        return table.combine(row.view(1, 1, -1), parameters, one.view(1, 1), constants).view(-1)

    def __call__(self, ids: Tensor, bags: Mapping[str, Bag]) -> Tensor:
        """[B, F, D] of a batch."""
        num_samples = ids.shape[1] if ids.numel() or not bags else len(next(iter(bags.values())))
        columns = iter(ids.tolist())
        embedded = []
        for feature in self.collection.features:
            if feature.pooling is None:
                embedded.append([self.vector(feature, identifier) for identifier in next(columns)])
            else:
                embedded.append(self._pooled(feature, bags[feature.name]))
        empty = torch.zeros(0, len(embedded), self.collection.embedding_dim, dtype=torch.float64)
        return torch.stack([torch.stack(column) for column in embedded], 1) if num_samples else empty

    def _pooled(self, feature: Feature, bag: Bag) -> list[Tensor]:
        pooled, start = [], 0
        for length in bag.lengths.tolist():
            vectors = [self.vector(feature, identifier) for identifier in bag.values[start : start + length].tolist()]
            total = torch.stack(vectors).sum(0) if vectors else torch.zeros(EMBEDDING_DIM, dtype=torch.float64)
            pooled.append(total / max(length, 1) if feature.pooling == "mean" else total)
            start += length
        return pooled


def all_subclasses(kind: type) -> set[type]:
    """Every concrete class below `kind`."""
    below = {deeper for child in kind.__subclasses__() for deeper in all_subclasses(child)}
    return below | {child for child in kind.__subclasses__() if not getattr(child, "__abstractmethods__", None)}
