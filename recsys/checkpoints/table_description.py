"""A collection as plain JSON, and back: what a checkpoint says of the tables that its rows belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import torch
from torch import Tensor

from recsys.tables import (
    Adaptation,
    EvictionPolicy,
    Feature,
    Frozen,
    Lookup,
    Partition,
    Table,
    TableCollection,
    TorchLookup,
    VectorSource,
)

FORMAT_VERSION = 2


def describe_collection(collection: TableCollection) -> dict[str, Any]:
    """Features, tables with their arguments and constants, and matrices, as values that JSON holds."""
    tables = {name: collection.table(name) for name in dict.fromkeys(f.table for f in collection.features)}
    return {
        "format_version": FORMAT_VERSION,
        "dtype": _name_of(collection.lookup.dtype),
        "features": [asdict(feature) for feature in collection.features],
        "tables": {name: _describe_table(table) for name, table in tables.items()},
        "physical_tables": {
            name: {
                "num_rows": physical.num_rows,
                "row_dim": physical.row_dim,
                "dtype": _name_of(collection.lookup.dtype_of(name)),
                "optimizer": type(collection.lookup.optimizer_of(name)).__name__,
            }
            for name, physical in collection.lookup.tables.items()
        },
    }


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def build_collection(
    description: Mapping[str, Any],
    lookup: type[Lookup] = TorchLookup,
    device: torch.device | str = "cpu",
    state: Mapping[str, Tensor] | None = None,
) -> TableCollection:
    """A collection with frozen rows, as described; the rows hold no trained values yet.

    Args:
        description: what `describe_collection` gave.
        lookup: how the rows are read.
        device: where they live.
        state: of the tables, by "<table>.<buffer>"; tables that were made of tensors are made of these again.

    Raises:
        ValueError: if the description is of another version, names a class that is not imported, or the classes here
            make other constants than those described.
    """
    if not isinstance(description, Mapping):
        raise ValueError(f"description: must map entries to values, got {type(description).__name__}.")
    version = description.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(f"description: format_version must be {FORMAT_VERSION}, got {version!r}.")
    try:
        tables = {name: build_table(f"{name}.", entry, state or {}) for name, entry in description["tables"].items()}
        features = [Feature(**entry) for entry in description["features"]]
        dtype = description["dtype"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"description: an entry is missing or malformed ({error}).") from error
    if dtype not in ("float32", "float16", "bfloat16", "float64"):
        raise ValueError(f"description: dtype must be a float, got {dtype!r}.")
    return TableCollection(
        features, tables, optimizer=Frozen(), lookup=lookup, dtype=getattr(torch, dtype), device=device
    )


def _describe_table(table: Table) -> dict[str, Any]:
    return {
        "class": type(table).__name__,
        "arguments": {key: _plain(key, value, table) for key, value in table.arguments.items()},
        "constants": {name: values.tolist() for name, values in table.constants().items()},
    }


def _plain(key: str, value: object, table: Table) -> object:
    """A value that JSON holds; a tensor, which the table keeps as a buffer of the argument's name, by its checksum.

    What the table itself compares when it is loaded goes without.
    """
    if isinstance(value, Tensor) and key in dict(table.named_buffers()):
        kept = {"buffer": key, "shape": list(table.given_again(value).shape)}
        return kept if key in table.reconciled else {**kept, "sha256": _sha256(table.get_buffer(key))}
    if isinstance(value, Table):
        return {"part": _describe_table(value)}
    if is_dataclass(value) and not isinstance(value, type):
        return {"class": type(value).__name__, "arguments": asdict(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(key, item, table) for item in value]
    raise ValueError(
        f"{type(table).__name__} '{table.name}': {key} of type {type(value).__name__} cannot be described in a "
        "checkpoint; give plain values, or a tensor that the table keeps."
    )


def _sha256(values: Tensor) -> str:
    return hashlib.sha256(values.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def build_table(prefix: str, entry: Mapping[str, Any], state: Mapping[str, Tensor]) -> Table:
    """A table as described, its parameters and buffers not yet those trained.

    Args:
        prefix: of the table's buffers in the state, "<table>.".
        entry: of `tables` in a description.
        state: see `build_collection`.

    Raises:
        ValueError: if the class is not imported, or makes other constants.
    """
    arguments = {key: _argument(prefix, value, state) for key, value in entry["arguments"].items()}
    table: Table = _subclass((Table,), entry["class"])(**arguments)
    mine = {name: values.tolist() for name, values in table.constants().items()}
    if mine != entry["constants"]:
        raise ValueError(
            f"{entry['class']} '{table.name}': constants are {entry['constants']} in the description and {mine} here; "
            "this version of the class routes ids to other rows."
        )
    return table


def _argument(prefix: str, value: Any, state: Mapping[str, Tensor]) -> Any:
    """An argument of the table whose buffers have this prefix; a part's have its place in it."""
    if isinstance(value, list):
        return [_argument(f"{prefix}part{place}_", item, state) for place, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if "part" in value:
        return build_table(prefix, value["part"], state)
    if "buffer" not in value:
        return _subclass((Partition, EvictionPolicy, Adaptation, VectorSource), value["class"])(**value["arguments"])
    key = prefix + value["buffer"]
    if key not in state:
        table, _, buffer = key.partition(".")
        raise ValueError(f"description: table '{table}' is made of a tensor '{buffer}', which is not there.")
    return state[key]


def _subclass(bases: tuple[type, ...], name: str) -> Any:
    """A subclass that is already imported; nothing is imported because a file says so."""
    waiting = list(bases)
    known: dict[str, type] = {}
    while waiting:
        kind = waiting.pop()
        known[kind.__name__] = kind
        waiting += kind.__subclasses__()
    if name not in known:
        kinds = " or ".join(base.__name__ for base in bases)
        raise ValueError(f"there is no {kinds} '{name}'; import the module that defines it (known: {sorted(known)}).")
    return known[name]
