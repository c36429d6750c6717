"""The matrices that several tables need together, each once."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.tables.base import Table
from recsys.tables.physical import PhysicalTable


def unique_physical_tables(tables: Sequence[Table]) -> dict[str, PhysicalTable]:
    """All matrices that the tables need, by name.

    Raises:
        ValueError: if two tables of unlike classes name one matrix, or of one class and differ in it.
    """
    found: dict[str, PhysicalTable] = {}
    owner: dict[str, Table] = {}
    for table in tables:
        for physical in table.physical_tables():
            known = found.setdefault(physical.name, physical)
            first = owner.setdefault(physical.name, table)
            if known != physical:
                raise ValueError(
                    f"tables '{first.name}' and '{table.name}' share physical table '{physical.name}' but declare "
                    f"({_described(known)}) and ({_described(physical)}); make them equal or give them two names."
                )
            if type(first) is not type(table):
                raise ValueError(
                    f"tables '{first.name}', {type(first).__name__}, and '{table.name}', {type(table).__name__}, would "
                    f"share physical table '{physical.name}'; give one of them another name."
                )
    return found


def _described(physical: PhysicalTable) -> str:
    return (
        f"{physical.num_rows} rows x {physical.row_dim}, mean {physical.init_mean:.4g}, std {physical.init_std:.4g}, "
        f"{physical.optimizer}, {physical.dtype}"
    )
