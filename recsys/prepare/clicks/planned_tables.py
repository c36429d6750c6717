"""A plan as YAML that a task takes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from glob import escape
from typing import Any

import yaml

from recsys.prepare.clicks.allocation import Allocation, Column


def as_config(allocation: Allocation, columns: Sequence[Column]) -> dict[str, Any]:
    """`tables` and `assign` of a task, an entry for each feature with a tail."""
    tables: dict[str, Any] = {}
    assign: dict[str, list[str]] = {}
    names = {column.name for column in columns}
    # A feature may be called as the matrix that the tails share, or as the entry of exact ones.
    exact, storage = _free("exact", names), _free("tail", names)
    for column in columns:
        head = allocation.heads[column.name]
        if head >= column.num_embeddings:
            tables[exact] = "FullTable"
            assign.setdefault(exact, []).append(escape(column.name))
            continue
        sizes: dict[str, Any] = {"num_head": head, "num_rows": allocation.num_rows}
        sizes |= {"num_lookups": allocation.num_lookups} | ({} if storage == "tail" else {"storage": storage})
        tables[column.name] = {"class_path": "HeadTailTable", "init_args": sizes}
        assign[column.name] = [escape(column.name)]
    arguments = {"embedding_dim": allocation.embedding_dim, "tables": tables, "assign": assign, "exact_up_to": 0}
    return {"model": {"init_args": arguments}}


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or one like it that nobody has."""
    while name in taken:
        name += "_"
    return name


def as_yaml(allocation: Allocation, columns: Sequence[Column], comment: str) -> str:
    """The config as text, under a line that says what it was made for."""
    return f"# {comment}\n" + yaml.safe_dump(as_config(allocation, columns), sort_keys=False, width=120)
