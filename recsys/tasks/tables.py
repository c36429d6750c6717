"""From a schema and the user's words to a collection: which feature has which table, optimised how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

import torch

from recsys.data.schema import Column
from recsys.tables import (
    FbgemmLookup,
    Feature,
    Frozen,
    FullTable,
    Lookup,
    NumbaLookup,
    Table,
    TableCollection,
    TableOptimizer,
    TorchLookup,
)
from recsys.tables.lookups.base import LookupFactory

TableFactory = Callable[[str, int, int], Table]
"""Called with (name, num_embeddings, embedding_dim)."""

DEFAULT_ENTRY = "default"


@dataclass(frozen=True)
class TableOptions:
    """What may be said of an entry of `tables` beside its method.

    Args:
        optimizer: of the entry's rows, instead of the task's table_optimizer.
        freeze: rows keep their values.
        init_from: a .npy file with the rows [R, row_dim] of the one feature that uses the entry.
    """

    optimizer: TableOptimizer | None = None
    freeze: bool = False
    init_from: Path | None = None

    def row_optimizer(self, default: TableOptimizer) -> TableOptimizer:
        """The optimizer of the entry's rows, where `default` is that of rows without one of their own."""
        return Frozen() if self.freeze else self.optimizer or default


def default_lookup(device: torch.device | str) -> type[Lookup]:
    """The fastest that is installed: on a CPU loops compiled by numba, on a GPU FBGEMM's kernels, else torch."""
    kind, package = (NumbaLookup, "numba") if torch.device(device).type == "cpu" else (FbgemmLookup, "fbgemm_gpu")
    return kind if find_spec(package) else TorchLookup


def assign_features(
    columns: Sequence[Column], entries: Sequence[str], assign: Mapping[str, Sequence[str]], exact_up_to: int
) -> dict[str, str | None]:
    """The entry of `tables` that each feature uses; None for an exact FullTable.

    Args:
        columns: the categorical and multi-valued features.
        entries: names of `tables`.
        assign: patterns of feature names for each entry; unmatched features use "default".
        exact_up_to: features with at most this many ids stay exact, unless a pattern names them.

    Raises:
        ValueError: on an entry that does not exist, a pattern without feature, a feature matched twice, or a feature
            left without a table.
    """
    found: dict[str, str] = {}
    for entry, patterns in assign.items():
        if entry not in entries:
            raise ValueError(f"assign names table '{entry}', which is not in tables{did_you_mean(entry, entries)}")
        for pattern in patterns:
            matched = [column.name for column in columns if fnmatchcase(column.name, pattern)]
            if not matched:
                names = [column.name for column in columns]
                raise ValueError(f"assign: '{pattern}' matches no feature{did_you_mean(pattern, names)}")
            for name in matched:
                if found.setdefault(name, entry) != entry:
                    raise ValueError(f"assign gives feature '{name}' to both '{found[name]}' and '{entry}'.")
    result: dict[str, str | None] = {}
    for column in columns:
        assert column.num_embeddings is not None
        exact = column.name not in found and column.num_embeddings <= exact_up_to
        result[column.name] = None if exact else found.get(column.name, DEFAULT_ENTRY)
    orphans = [name for name, entry in result.items() if entry == DEFAULT_ENTRY and DEFAULT_ENTRY not in entries]
    if orphans:
        raise ValueError(f"features {orphans} have no table: assign them or add '{DEFAULT_ENTRY}' to tables.")
    return result


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The end of an error message: the nearest known word, and all of them."""
    close = get_close_matches(word, known, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{hint} (known: {', '.join(known)})"


def build_collection(
    columns: Sequence[Column],
    embedding_dim: int,
    tables: Mapping[str, TableFactory],
    assign: Mapping[str, Sequence[str]],
    exact_up_to: int,
    options: Mapping[str, TableOptions],
    table_optimizer: TableOptimizer,
    lookup: LookupFactory,
    device: torch.device | str,
    clip_rows: bool = False,
) -> TableCollection:
    """The collection of a task; see CTRTask for the arguments.

    Raises:
        ValueError: on anything that does not fit together, before rows are allocated.
    """
    entries = assign_features(columns, list(tables), assign, exact_up_to)
    for name in options:
        if name not in tables:
            raise ValueError(
                f"table_options names table '{name}', which is not in tables{did_you_mean(name, list(tables))}"
            )
    made: dict[str, Table] = {}
    optimizers: dict[str, TableOptimizer] = {}
    for column in columns:
        entry = entries[column.name]
        factory = FullTable if entry is None else tables[entry]
        assert column.num_embeddings is not None
        made[column.name] = factory(column.name, column.num_embeddings, embedding_dim)
        chosen = options.get(entry or "", TableOptions())
        optimizers[column.name] = chosen.row_optimizer(table_optimizer)
    features = [Feature(column.name, column.name, column.pooling) for column in columns]
    collection = TableCollection(
        features, made, optimizer=optimizers, lookup=lookup, device=device, clip_rows=clip_rows
    )
    for name, chosen in options.items():
        if chosen.init_from is not None:
            _load_rows(
                collection, name, [feature for feature, entry in entries.items() if entry == name], chosen.init_from
            )
    return collection


def _load_rows(collection: TableCollection, entry: str, features: Sequence[str], file: Path) -> None:
    import numpy as np

    matrices = {p.name for feature in features for p in collection.table(feature).physical_tables()}
    if len(matrices) != 1:
        raise ValueError(f"table_options '{entry}': init_from fills one matrix, but '{entry}' has {sorted(matrices)}.")
    if not file.is_file():
        raise ValueError(f"table_options '{entry}': init_from file '{file}' does not exist.")
    collection.lookup.load_weight(matrices.pop(), torch.from_numpy(np.load(file, allow_pickle=False)))
