"""What does not fit together in a collection, in a sentence that names it."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import torch
import torch.distributed as dist

from recsys.tables.base import Table
from recsys.tables.contract_checks import check_made, check_matrices_of
from recsys.tables.features import Feature
from recsys.tables.lookups.base import Lookup
from recsys.tables.lookups.optimizers import DenseGradient, Frozen, RowWiseAdagrad, TableOptimizer
from recsys.tables.numbers import check_number
from recsys.tables.physical import PhysicalTable
from recsys.tables.placement import check_floats


def check_features(features: Sequence[Feature], tables: Mapping[str, Table]) -> None:
    """Refuse features and tables that do not name each other.

    Raises:
        ValueError: naming them.
    """
    if not features:
        raise ValueError("features must not be empty.")
    for name in tables:
        if not name or "." in name:
            raise ValueError(f"tables: a name must be text without '.', got {name!r}.")
    names = [feature.name for feature in features]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"features {twice} are given more than once.")
    for feature in features:
        if feature.table not in tables:
            raise ValueError(
                f"feature '{feature.name}' uses table '{feature.table}', which is not in "
                f"tables{_did_you_mean(feature.table, tables)}"
            )
    unused = sorted(set(tables) - {feature.table for feature in features})
    if unused:
        raise ValueError(f"tables {unused} are used by no feature.")
    for table in tables.values():
        check_made(table)
    dims = {name: table.embedding_dim for name, table in tables.items()}
    if len(set(dims.values())) > 1:
        raise ValueError(f"all tables must have one embedding_dim, got {dims}.")


def check_values(tables: Mapping[str, Table], dtype: torch.dtype, lookup: object) -> None:
    """Refuse rows of other than floating-point numbers, and tables without values: rows are arranged by them.

    Raises:
        ValueError: naming the dtype, the lookup if it is a class of another kind, or a table.
    """
    if isinstance(lookup, type) and (not issubclass(lookup, Lookup) or inspect.isabstract(lookup)):
        raise ValueError(f"TableCollection: lookup must be a Lookup, such as TorchLookup, got {lookup.__name__}.")
    if isinstance(lookup, Lookup):
        kind = type(lookup).__name__
        raise ValueError(f"TableCollection: lookup must be the class {kind}, or what makes one; got one that is made.")
    check_floats("TableCollection", dtype)
    for name, table in tables.items():
        check_matrices_of(table)
        if any(each.is_meta for each in (*table.parameters(), *table.buffers())):
            raise ValueError(
                f"table '{name}' has no values, as it was made on the device 'meta'; make tables and their collection "
                "elsewhere, and load a checkpoint into it."
            )


def check_lookup(lookup: object) -> None:
    """Refuse what a factory of lookups has made, if it is none.

    Raises:
        ValueError: saying what it made.
    """
    if not isinstance(lookup, Lookup):
        raise ValueError(f"TableCollection: lookup must make a Lookup, such as TorchLookup, got {lookup!r}.")


def check_num_samples(num_samples: object) -> None:
    """Refuse what no sum can be divided by; of a Tensor, its value on a CPU.

    Raises:
        ValueError: naming it.
    """
    if not isinstance(num_samples, torch.Tensor):
        check_number("TableCollection.regularizer", "num_samples", num_samples, sys.float_info.min)
    elif num_samples.numel() != 1 or (num_samples.device.type == "cpu" and not 0 < float(num_samples) < math.inf):
        raise ValueError(f"TableCollection.regularizer: num_samples must be one number above 0, got {num_samples}.")


def _did_you_mean(word: str, tables: Mapping[str, Table]) -> str:
    close = get_close_matches(word, tables, n=1)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{hint} (tables: {', '.join(tables)})"


def optimizers_by_matrix(
    tables: Mapping[str, Table], optimizer: TableOptimizer | Mapping[str, TableOptimizer] | None
) -> dict[str, TableOptimizer]:
    """The optimizer of every matrix: Frozen where the user says so, else the matrix' own, else the user's.

    Raises:
        ValueError: if a mapping names a table that does not exist, or tables that share a matrix disagree.
    """
    if isinstance(optimizer, Mapping):
        for name in optimizer:
            if name not in tables:
                raise ValueError(
                    f"optimizer names table {name!r}, which is not in tables{_did_you_mean(str(name), tables)}"
                )
    chosen: dict[str, TableOptimizer] = {}
    for name, table in tables.items():
        asked = optimizer.get(name) if isinstance(optimizer, Mapping) else optimizer
        for physical in table.physical_tables():
            own = _optimizer_of(physical, asked or RowWiseAdagrad())
            if chosen.setdefault(physical.name, own) != own:
                raise ValueError(
                    f"table '{name}' shares physical table '{physical.name}' with another table but has another "
                    f"optimizer: {own} and {chosen[physical.name]}."
                )
    return chosen


def _optimizer_of(physical: PhysicalTable, asked: TableOptimizer) -> TableOptimizer:
    return asked if isinstance(asked, Frozen) or physical.optimizer is None else physical.optimizer


def check_moved_rows(tables: Mapping[str, Table], optimizers: Mapping[str, TableOptimizer]) -> None:
    """Refuse what would let an id inherit what another has learnt.

    Args:
        tables: all tables of a collection.
        optimizers: of every matrix, by name.

    Raises:
        ValueError: if another table reads a matrix whose rows pass from id to id, or its optimizer state is out of
            reach.
    """
    for entry, table in tables.items():
        if not table.moves_rows:
            continue
        for matrix in {physical.name for physical in table.physical_tables()}:
            for other_entry, other in tables.items():
                if other_entry != entry and matrix in {physical.name for physical in other.physical_tables()}:
                    raise ValueError(
                        f"tables '{entry}' and '{other_entry}' share physical table '{matrix}', whose rows "
                        f"{type(table).__name__} gives from id to id; give them two names."
                    )
            if isinstance(optimizers[matrix], DenseGradient):
                raise ValueError(
                    f"{type(table).__name__} '{table.name}': its optimizer must be one whose state moves with a row, "
                    "got DenseGradient; choose SGD, Adagrad, RowWiseAdagrad or Adam as table_optimizer."
                )


def check_observed(tables: Sequence[Table], sees_all_ids: bool) -> None:
    """Refuse processes that each see their own ids where rows follow the ids of training batches.

    Args:
        tables: that take note of a batch.
        sees_all_ids: whether they are shown those of all processes.

    Raises:
        ValueError: naming the first that does not count batches alone.
    """
    if sees_all_ids or not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return
    for table in tables:
        if not table.counts_batches:
            raise ValueError(
                f"{type(table).__name__} '{table.name}': its rows follow the ids of training batches, of which one "
                f"process of {dist.get_world_size()} sees its own alone; use lookup=TorchrecLookup, or one process."
            )
