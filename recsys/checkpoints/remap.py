"""Weights for data whose ids are numbered anew: each row goes to the id that stands for the same value now."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys.checkpoints.data_differences import DATA, changed_ids, dense_difference
from recsys.checkpoints.reading import Checkpoint
from recsys.checkpoints.table_description import describe_collection
from recsys.checkpoints.table_differences import differences
from recsys.prepare.files.fingerprints import prepared_marks, read_vocabulary
from recsys.tables import Table, TableCollection

_COLLECTION = "collection."


def carry_over(
    path: Path,
    old_folder: Path,
    module: nn.Module,
    collection: TableCollection,
    here: Mapping[str, Any] | None,
    fixed: Collection[str] = (),
) -> list[str]:
    """Load a checkpoint's weights into a task on other data; optimizers begin anew.

    Args:
        path: of the checkpoint.
        old_folder: the prepared folder that it was trained on.
        module: the task, with its collection allocated; what the checkpoint does not know keeps its initial value.
        collection: of the task.
        here: the identity of the data at hand.
        fixed: prefixes of what the task has from its data, and not from the checkpoint.

    Returns:
        a sentence for each feature whose ids have changed, or one that none has.

    Raises:
        ValueError: if the folder is not that of the checkpoint, tables differ in more than their ids, or a table has no
            row that belongs to one id.
    """
    source = Checkpoint(path)
    before = source.description.get(DATA)
    if before is None or here is None:
        raise ValueError(f"--remap: checkpoint '{path}' does not say what its ids stand for.")
    _check_folder(old_folder, before)
    changed = changed_ids(before, here)
    if list(before["dense"]) != list(here["dense"]):
        raise ValueError(f"--remap carries rows of ids over, and {dense_difference(before, here)}.")
    tables = {feature.name: feature.table for feature in collection.features}
    predicted = [name for name in changed if name not in tables]
    if predicted:
        raise ValueError(f"--remap carries rows over, and '{predicted[0]}', whose ids have changed, is predicted.")
    _check_tables(source.description, collection, {tables[name] for name in changed})
    said, rows = (
        [] if changed else ["every id stands for the value that it stood for, so no row moves"],
        dict(source.rows),
    )
    for name in changed:
        matrix = _one_matrix(collection, tables[name])
        places = _old_ids(old_folder, Path(here["path"]), name, here["ids"][name])
        rows[matrix] = _moved(rows[matrix], collection.lookup.weight(matrix), places)
        num_kept = int((places > 0).sum())
        said.append(f"'{name}': {num_kept:,} of {len(places) - 1:,} values keep their rows, the others begin anew")
    for matrix in collection.lookup.tables:
        collection.lookup.load_weight(matrix, rows[matrix])
    _load_dense(module, source.dense, fixed, path)
    return said


def _check_folder(old_folder: Path, before: Mapping[str, Any]) -> None:
    marks = prepared_marks(old_folder)["ids"] if old_folder.is_dir() else {}
    kept = {name: mark for name, mark in before["ids"].items() if mark is not None and name in marks}
    wrong = [name for name, mark in kept.items() if marks[name] != mark]
    if wrong or not marks:
        problem = f"the ids of '{wrong[0]}' stand for other values there" if wrong else "it has no vocabularies"
        raise ValueError(f"--remap '{old_folder}' is not the folder that the checkpoint was trained on: {problem}.")


def _check_tables(before: Mapping[str, Any], collection: TableCollection, changed: Collection[str]) -> None:
    """Tables may differ in how many ids those of changed features have, and in nothing else."""
    after = describe_collection(collection)
    matrices = {_one_matrix(collection, name) for name in changed}
    for name in changed:
        if name in before["tables"]:
            theirs = before["tables"][name]["arguments"]
            after["tables"][name]["arguments"]["num_embeddings"] = theirs.get("num_embeddings")
    for name in matrices & set(before["physical_tables"]):
        after["physical_tables"][name]["num_rows"] = before["physical_tables"][name]["num_rows"]
    found = differences(before, after)
    if found:
        raise ValueError("--remap: the checkpoint has other tables than this config:\n  " + "\n  ".join(found))


def _one_matrix(collection: TableCollection, name: str) -> str:
    """The matrix of a table in which row r is id r's, and nobody else's.

    Raises:
        ValueError: if the table has none.
    """
    table = collection.table(name)
    if not _has_a_row_for_each_id(table):
        raise ValueError(
            f"--remap: rows of {type(table).__name__} '{name}' belong to several ids, or to none, and cannot be "
            "carried over by value; train it anew."
        )
    return table.physical_tables()[0].name


def _has_a_row_for_each_id(table: Table) -> bool:
    matrices = table.physical_tables()
    if len(matrices) != 1 or matrices[0].num_rows != table.num_embeddings or list(table.parameters()):
        return False
    ids = torch.arange(min(table.num_embeddings, 1 << 16))
    try:
        rows = table.route(ids, {name: values.cpu() for name, values in table.constants().items()})
    except (RuntimeError, ValueError, KeyError):
        return False
    return bool(torch.equal(rows.reshape(-1).cpu(), ids))


def _old_ids(old: Path, new: Path, feature: str, mark: str | None) -> NDArray[np.int64]:
    """The old id of each new one, -1 for values that are new: [V]. Id 0 stands for no value, then and now."""
    if mark is None:
        raise ValueError(f"--remap: '{new}' has no vocabulary of '{feature}', so nobody knows what its ids stand for.")
    old_ids, old_values = read_vocabulary(old, feature)
    new_ids, new_values = read_vocabulary(new, feature)
    found = pc.index_in(new_values, value_set=old_values.combine_chunks())
    places = found.fill_null(-1).to_numpy().astype(np.int64)
    numbers = np.append(old_ids.to_numpy(), -1)
    ids = new_ids.to_numpy()
    result = np.full(int(ids.max(initial=0)) + 1, -1, np.int64)
    result[ids] = numbers[places]
    result[0] = 0
    return result


def _moved(old: Tensor, fresh: Tensor, places: NDArray[np.int64]) -> Tensor:
    """Rows [R, row_dim] in their new places; new ids have fresh ones."""
    rows = fresh.detach().cpu().clone()
    known = torch.from_numpy(np.flatnonzero(places >= 0))
    rows[known] = old[torch.from_numpy(places)[known]].to(rows.dtype)
    return rows


def _load_dense(module: nn.Module, dense: Mapping[str, Tensor], fixed: Collection[str], path: Path) -> None:
    own = {name: value for name, value in module.state_dict().items() if not name.startswith(f"{_COLLECTION}lookup.")}
    kept = {name: value for name, value in dense.items() if not name.startswith(tuple(fixed))}
    wanted = [name for name in own if not name.startswith(tuple(fixed))]
    for name in {*wanted, *kept}:
        shapes = [list(side[name].shape) if name in side else None for side in (kept, own)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"--remap: '{name}' has shape {shapes[0]} in checkpoint '{path}' and {shapes[1]} here; it belongs to "
                "no id, so it cannot be carried over by value."
            )
    module.load_state_dict(kept, strict=False)
