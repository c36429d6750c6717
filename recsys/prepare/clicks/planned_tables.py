"""A plan as YAML that a task takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from recsys.planning.allocation import Allocation, Column

EXACT, TAIL = "exact", "tail"


def as_config(allocation: Allocation, columns: Sequence[Column]) -> dict[str, Any]:
    """`tables` and `assign` of a task, an entry for each feature with a tail."""
    tables: dict[str, Any] = {}
    assign: dict[str, list[str]] = {}
    for column in columns:
        head = allocation.heads[column.name]
        if head >= column.num_embeddings:
            tables[EXACT] = "FullTable"
            assign.setdefault(EXACT, []).append(column.name)
            continue
        sizes = {"num_head": head, "num_rows": allocation.num_rows, "num_lookups": allocation.num_lookups}
        tables[column.name] = {"class_path": "HeadTailTable", "init_args": sizes}
        assign[column.name] = [column.name]
    arguments = {"embedding_dim": allocation.embedding_dim, "tables": tables, "assign": assign, "exact_up_to": 0}
    return {"model": {"init_args": arguments}}


def as_yaml(allocation: Allocation, columns: Sequence[Column], comment: str) -> str:
    """The config as text, under a line that says what it was made for."""
    return f"# {comment}\n" + yaml.safe_dump(as_config(allocation, columns), sort_keys=False, width=120)
