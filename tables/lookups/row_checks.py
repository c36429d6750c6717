"""What cannot be rows of a matrix, or their values, in a sentence that names it: kinds everywhere, numbers on a CPU."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from recsys.tables.physical import PhysicalTable
from recsys.tables.placement import check_dense


def check_rows(table: PhysicalTable, rows: Tensor, values: Tensor | None = None) -> None:
    """Refuse what are no rows [M] of a matrix, and what are not their values [M, row_dim].

    Raises:
        ValueError: naming the matrix and what was given.
    """
    owner = f"physical table '{table.name}'"
    if not isinstance(rows, Tensor) or rows.dim() != 1 or rows.dtype not in (torch.int64, torch.int32):
        got = f"{list(rows.shape)} of {rows.dtype}" if isinstance(rows, Tensor) else type(rows).__name__
        raise ValueError(f"{owner}: rows must be a Tensor [M] of int64 or int32, got {got}.")
    if rows.device.type == "cpu" and len(rows):
        low, high = (int(each) for each in rows.aminmax())
        if low < 0 or high >= table.num_rows:
            raise ValueError(f"{owner}: rows must be in [0, {table.num_rows}), got {low if low < 0 else high}.")
    if values is None:
        return
    wanted = (len(rows), table.row_dim)
    if not isinstance(values, Tensor) or tuple(values.shape) != wanted:
        got = str(list(values.shape)) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"{owner}: values must be a Tensor {list(wanted)}, got {got}.")
    check_dense(owner, "values", values)


def check_values(table: str, values: Tensor) -> None:
    """Refuse what are no numbers that a matrix could have.

    Raises:
        ValueError: naming the matrix and what was given.
    """
    if not isinstance(values, Tensor):
        raise ValueError(f"physical table '{table}': rows must be a Tensor, got {type(values).__name__}.")
    check_dense(f"physical table '{table}'", "rows", values)


def check_named(
    owner: str, tables: Mapping[str, PhysicalTable], optimizers: Mapping[str, object], reads: Mapping[str, int]
) -> None:
    """Refuse matrices that are not by their names, or of which it is not said how they are stepped and read.

    Raises:
        ValueError: naming them.
    """
    if set(tables) != set(optimizers) or not set(tables) <= set(reads):
        given = f"{sorted(optimizers)} and {sorted(reads)}"
        raise ValueError(f"{owner}: optimizers and reads must be of each table {sorted(tables)}, got {given}.")
    for name, table in tables.items():
        if name != table.name or reads[name] < 0:
            raise ValueError(
                f"{owner}: tables must be by their names and read at least 0 rows a sample, got {name!r} for "
                f"'{table.name}' with {reads[name]} rows."
            )


def problem_of(values: object, shape: tuple[int, int], dtype: torch.dtype) -> str | None:
    """Why saved values are none of rows of this shape and dtype; None if nothing is wrong."""
    if not isinstance(values, Tensor):
        return f"must be a Tensor, got {type(values).__name__}"
    if tuple(values.shape) != shape:
        return f"has shape {tuple(values.shape)} in the checkpoint and {shape} here"
    # By the dtype: a matrix in parts on several processes answers nothing else.
    if values.dtype.is_complex or values.dtype.is_floating_point != dtype.is_floating_point:
        return f"must be numbers such as {dtype}, got {values.dtype}"
    return "must be values, got a tensor on 'meta'" if values.device.type == "meta" else None
