"""A checkpoint as a plain folder of safetensors and JSON, and the trained tables from either."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recsys.argument_types import typed
from recsys.checkpoints.folder import is_folder
from recsys.checkpoints.reading import Checkpoint
from recsys.checkpoints.table_description import build_collection
from recsys.prepare.files.whole_files import whole_folder
from recsys.tables import Lookup, TableCollection, TorchLookup

FORMAT_VERSION = 1
_DENSE, _ROWS, _STATE = "dense.", "rows.", "state."
_HEAD, TENSORS = "recsys.json", "tensors.safetensors"


@typed
def consolidate(checkpoint: str | Path, out: str | Path, optimizer_state: bool = False) -> None:
    """Write OUT/recsys.json and OUT/tensors.safetensors; the folder appears whole or not at all.

    Args:
        checkpoint: a .ckpt of `recsys fit`.
        out: the folder to make.
        optimizer_state: keep the optimiser state of the rows too.

    Raises:
        ValueError: if `out` exists or cannot be written, or the checkpoint cannot be read safely, has no tables, or has
            no state that is asked for.
    """
    from safetensors.torch import save_file

    folder = Path(out)
    if folder.exists():
        raise ValueError(f"out '{out}' exists; give another folder or remove it.")
    source = Checkpoint(checkpoint)
    no_tensors = sorted(
        name for name, value in {**source.dense, **source.rows}.items() if not isinstance(value, Tensor)
    )
    if no_tensors or "tables" not in source.description:
        problem = f"'{no_tensors[0]}' is no tensor" if no_tensors else "its description names no tables"
        raise ValueError(f"checkpoint '{checkpoint}' cannot be consolidated: {problem}.")
    tensors = {f"{_DENSE}{name}": value for name, value in source.dense.items()}
    tensors |= {f"{_ROWS}{name}": value for name, value in source.rows.items()}
    if optimizer_state and not source.states:
        raise ValueError(f"checkpoint '{checkpoint}' has no optimizer state of rows to keep; leave it out.")
    if optimizer_state:
        tensors |= {f"{_STATE}{name}": value for name, value in source.states.items()}
    try:
        with whole_folder(folder) as place:
            save_file({name: value.contiguous() for name, value in tensors.items()}, place / TENSORS)
            head = {
                "format_version": FORMAT_VERSION,
                "description": source.description,
                "sha256": {TENSORS: _sha256(place / TENSORS)},
            }
            (place / _HEAD).write_text(json.dumps(head, indent=1), encoding="utf-8")
    except OSError as error:
        raise ValueError(f"out '{out}' cannot be written ({error.strerror}); give another folder.") from error


@typed
def load(path: str | Path, lookup: type[Lookup] = TorchLookup, device: torch.device | str = "cpu") -> TableCollection:
    """The trained collection, rows frozen, from a consolidated folder or straight from a .ckpt.

    Args:
        path: what `consolidate` wrote, or a .ckpt of `recsys fit`.
        lookup: how the rows are read.
        device: where they live.

    Raises:
        ValueError: if a file is missing, damaged or of another project.
    """
    if not Path(path).is_dir() or is_folder(path):
        source = Checkpoint(path)
        collection = build_collection(source.description, lookup, device, _state_of_tables(source.dense))
        return _fill(collection, source.rows, source.dense, path)
    from safetensors import safe_open

    head = _read_head(Path(path))
    with safe_open(Path(path) / TENSORS, framework="pt") as file:
        names = list(file.keys())
        # Matrices are read one at a time: memory holds the collection and one of them.
        rows = _Lazy(file, _ROWS, names)
        dense = {n.removeprefix(_DENSE): file.get_tensor(n) for n in names if n.startswith(_DENSE)}
        collection = build_collection(head["description"], lookup, device, _state_of_tables(dense))
        return _fill(collection, rows, dense, path)


def _state_of_tables(dense: dict[str, Tensor]) -> dict[str, Tensor]:
    """Parameters and buffers of the tables, by "<table>.<name>"."""
    prefix = "collection.tables."
    return {key.removeprefix(prefix): value for key, value in dense.items() if key.startswith(prefix)}


class _Lazy:
    """Tensors of an open file by name, read when asked for."""

    def __init__(self, file: Any, prefix: str, names: Sequence[str]) -> None:
        self._file, self._prefix = file, prefix
        self._names = set(names)

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._names

    def __getitem__(self, name: str) -> Tensor:
        found: Tensor = self._file.get_tensor(self._prefix + name)
        return found


def _fill(
    collection: TableCollection, rows: dict[str, Tensor] | _Lazy, dense: dict[str, Tensor], path: str | Path
) -> TableCollection:
    for name in collection.lookup.tables:
        if name not in rows:
            raise ValueError(f"'{path}' lacks the rows of physical table '{name}'.")
        collection.lookup.load_weight(name, rows[name])
    try:
        collection.tables.load_state_dict(_state_of_tables(dense))
    except RuntimeError as error:
        raise ValueError(f"'{path}' does not fit its own description: {error}") from error
    return collection


def _read_head(folder: Path) -> dict[str, Any]:
    for name in (_HEAD, TENSORS):
        if not (folder / name).is_file():
            raise ValueError(f"'{folder}' is not a folder of `recsys consolidate`: it has no {name}.")
    try:
        head: dict[str, Any] = json.loads((folder / _HEAD).read_text(encoding="utf-8"))
        version, wanted, _ = head["format_version"], head["sha256"][TENSORS], head["description"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / _HEAD}: not valid ({error!r}).") from error
    if version != FORMAT_VERSION:
        raise ValueError(f"{folder / _HEAD}: format_version must be {FORMAT_VERSION}, got {version!r}.")
    if _sha256(folder / TENSORS) != wanted:
        raise ValueError(f"{folder / TENSORS}: checksum differs from {_HEAD}; the file is damaged.")
    return head


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
