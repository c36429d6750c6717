"""A configuration that trains on a prepared folder at once: sizes and choices from its counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

EMBEDDING_DIM = 16
LARGE_IDS = 1 << 20
OFTEN = 10
LEAST_SHARED_ROWS = 1 << 18
BATCHES_OF_AN_EPOCH = 200


def check_config(path: Path) -> None:
    """Refuse a file that exists, or that cannot be made, before any work is done.

    Raises:
        ValueError: It exists, or its folder does not.
    """
    if not path.parent.is_dir():
        raise ValueError(f"--config '{path}': there is no folder '{path.parent}'; make it first.")
    if path.exists():
        raise ValueError(f"--config '{path}' exists and is kept; give another name.")


def write_config(path: Path, folder: Path) -> None:
    """Write the configuration; the folder is named as it was given.

    Raises:
        ValueError: The file exists.
    """
    schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
    often = {name: _num_often(folder / "counts" / f"{name}.parquet") for name in _large(schema)}
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(config_text(schema, str(folder), often))
    except FileExistsError:
        raise ValueError(f"--config '{path}' exists and is kept; give another name.") from None


def _sizes(schema: dict[str, Any]) -> dict[str, int]:
    return {entry["name"]: entry["num_embeddings"] for entry in schema["features"] if "num_embeddings" in entry}


def _large(schema: dict[str, Any]) -> list[str]:
    return [name for name, size in _sizes(schema).items() if size > LARGE_IDS]


def _num_often(counts: Path) -> int:
    """How many ids train reads often."""
    return int(np.count_nonzero(pq.read_table(counts, columns=["count"])["count"].to_numpy() >= OFTEN))


def config_text(schema: dict[str, Any], folder: str, often: dict[str, int]) -> str:
    """A DCNv2; features of more than a million ids share one UnifiedTable, the others have full tables.

    The shared table has a row for every id of theirs that train reads at least ten times, and 262,144 at least. Such a
    table, of one size for all, is what ranked best under a budget (`docs/results.md`); a plan that gives frequent ids
    rows of their own ranked no better (`docs/tables.md`).

    Args:
        schema: Content of schema.json.
        folder: As it was named.
        often: Ids that train reads often, by large feature.
    """
    sizes = _sizes(schema)
    num_train, num_val = (schema["splits"].get(split, {"num_rows": 0})["num_rows"] for split in ("train", "val"))
    num_dense = len(schema["features"]) - len(sizes)
    lines = [
        f"# DCNv2 on {json.dumps(folder)}: {num_train:,} train rows, {len(sizes)} features with "
        f"{sum(sizes.values()):,} ids, {num_dense} numbers.",
        "# Other tables: one more -c configs/tables/METHOD.yaml.",
        "seed_everything: 0",
        "model:",
        "  class_path: CTRTask",
        "  init_args:",
        f"    embedding_dim: {EMBEDDING_DIM}",
        *_table_lines(sizes, often, folder),
        "    table_optimizer: {class_path: RowWiseAdagrad, init_args: {learning_rate: 0.05}}",
        "    optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.001}}",
        "    embedding_dropout: 0.1",
        "    model: {class_path: DCNv2, init_args: {num_cross_layers: 2, hidden_dims: [128, 64]}}",
        "data:",
        "  class_path: CTRDataModule",
        f"  init_args: {{path: {json.dumps(folder)}, batch_size: {_batch_size(num_train)}, eval_batch_size: 4096}}",
        "trainer:",
        f"  max_epochs: {1 if num_train > 20_000_000 else 20}  # early stopping ends it",
        "  callbacks:",
        *(_best_lines("val/gauc" if "group" in schema else "val/auc") if num_val else []),
        "    - {class_path: ModelCheckpoint, init_args: {filename: last, enable_version_counter: false}}",
    ]
    return "\n".join(lines) + "\n"


def _table_lines(sizes: dict[str, int], often: dict[str, int], folder: str) -> list[str]:
    if not often:
        return ["    tables: {default: FullTable}"]
    num_ids, num_often = sum(sizes[name] for name in often), sum(often.values())
    names = ", ".join(json.dumps(name, ensure_ascii=False) for name in often)
    return [
        f"    # {num_ids:,} ids, {num_often:,} of them read at least {OFTEN} times in train; for a budget:",
        f"    # recsys plan {json.dumps(folder)} --budget_fraction 10% --out plan.yaml, and one more -c plan.yaml",
        "    tables:",
        "      default: FullTable",
        f"      large: {{class_path: UnifiedTable, init_args: {{num_rows: {max(LEAST_SHARED_ROWS, num_often)}}}}}",
        f"    assign: {{large: [{names}]}}",
    ]


def _best_lines(monitor: str) -> list[str]:
    return [
        f"    - {{class_path: EarlyStopping, init_args: {{monitor: {monitor}, mode: max, patience: 2}}}}",
        f"    - {{class_path: ModelCheckpoint, init_args: {{monitor: {monitor}, mode: max}}}}",
    ]


def _batch_size(num_train: int) -> int:
    """A power of two that makes about 200 batches of an epoch, from 64 to 4,096."""
    return min(4096, max(64, 1 << max(0, (num_train // BATCHES_OF_AN_EPOCH).bit_length() - 1)))
