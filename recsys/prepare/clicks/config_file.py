"""A configuration that trains on a prepared folder at once: sizes and choices from its counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from recsys.prepare.clicks.allocation import Column, allocate
from recsys.prepare.clicks.planned_tables import as_config
from recsys.prepare.files.whole_files import write_new_text

EMBEDDING_DIM = 16
LARGE_IDS = 1 << 20
OFTEN = 10
LEAST_PLANNED_ROWS = 1 << 18
BATCHES_OF_AN_EPOCH = 200
LOGGED_STEPS = 50
"""Lightning logs after so many steps, and warns of epochs with fewer."""


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
    large = [Column(name, _counts(folder / "counts" / f"{name}.parquet")) for name in _large(schema)]
    try:
        write_new_text(path, config_text(schema, str(folder), large))
    except FileExistsError:
        raise ValueError(f"--config '{path}' exists and is kept; give another name.") from None


def _sizes(schema: dict[str, Any]) -> dict[str, int]:
    return {entry["name"]: entry["num_embeddings"] for entry in schema["features"] if "num_embeddings" in entry}


def _large(schema: dict[str, Any]) -> list[str]:
    return [name for name, size in _sizes(schema).items() if size > LARGE_IDS]


def _counts(file: Path) -> NDArray[np.int64]:
    """[V] how often train reads each id."""
    return pq.read_table(file, columns=["count"])["count"].to_numpy()


def config_text(schema: dict[str, Any], folder: str, large: Sequence[Column]) -> str:
    """A DCNv2; features of more than a million ids have the tables that `recsys plan` makes, the others full ones.

    Args:
        schema: Content of schema.json.
        folder: As it was named.
        large: Features of more than LARGE_IDS ids, and how often train reads each id.
    """
    sizes = _sizes(schema)
    num_train, num_val = (schema["splits"].get(split, {"num_rows": 0})["num_rows"] for split in ("train", "val"))
    num_dense = len(schema["features"]) - len(sizes)
    num_batches = max(1, num_train // _batch_size(num_train))
    lines = [
        f"# DCNv2 on {json.dumps(folder)}: {num_train:,} train rows, {len(sizes)} features with "
        f"{sum(sizes.values()):,} ids, {num_dense} of numbers.",
        "# Other tables: one more -c configs/tables/METHOD.yaml.",
        "seed_everything: 0",
        "model:",
        "  class_path: CTRTask",
        "  init_args:",
        f"    embedding_dim: {EMBEDDING_DIM}",
        *_table_lines(sizes, large, folder),
        "    table_optimizer: {class_path: RowWiseAdagrad, init_args: {learning_rate: 0.05}}",
        "    optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.001}}",
        "    embedding_dropout: 0.1",
        "    model: {class_path: DCNv2, init_args: {num_cross_layers: 2, hidden_dims: [128, 64]}}",
        "data:",
        "  class_path: CTRDataModule",
        f"  init_args: {{path: {json.dumps(folder)}, batch_size: {_batch_size(num_train)}, eval_batch_size: 4096}}",
        "trainer:",
        f"  max_epochs: {1 if num_train > 20_000_000 else 20}{'  # early stopping ends it' if num_val else ''}",
        *([f"  log_every_n_steps: {num_batches}"] if num_batches < LOGGED_STEPS else []),
        "  callbacks:",
        *(_best_lines("val/gauc" if "group" in schema else "val/auc") if num_val else []),
        "    - {class_path: ModelCheckpoint, init_args: {filename: last, enable_version_counter: false}}",
    ]
    return "\n".join(lines) + "\n"


def _table_lines(sizes: dict[str, int], large: Sequence[Column], folder: str) -> list[str]:
    """Full tables; or the plan for the bytes of the small ones and of a row for each id that is read often.

    In the plan the most frequent ids of the large features have rows of their own, and the others share a matrix.
    """
    if not large:
        return ["    tables: {default: FullTable}"]
    small = [Column(name, np.zeros(size, np.int64)) for name, size in sizes.items() if size <= LARGE_IDS]
    num_often = sum(int(np.count_nonzero(column.counts >= OFTEN)) for column in large)
    num_rows = sum(column.num_embeddings for column in small) + max(LEAST_PLANNED_ROWS, num_often)
    num_bytes = 4 * EMBEDDING_DIM * num_rows
    plan = allocate([*small, *large], EMBEDDING_DIM, num_bytes, exact_up_to=LARGE_IDS)
    chosen = as_config(plan, [*small, *large])["model"]["init_args"]
    text = yaml.safe_dump(
        {name: chosen[name] for name in ("tables", "assign")},
        sort_keys=False,
        width=110,
        default_flow_style=None,
        allow_unicode=True,
    )
    return [
        f"    # {sum(column.num_embeddings for column in large):,} ids are of features with more than {LARGE_IDS:,}; "
        f"train reads {num_often:,} of them at least {OFTEN} times.",
        f"    # Rows for as many, {LEAST_PLANNED_ROWS:,} at least, dealt out by",
        f"    # recsys plan {json.dumps(folder)} --budget_bytes {num_bytes} --exact_up_to {LARGE_IDS}",
        *(f"    {line}" for line in text.splitlines()),
    ]


def _best_lines(monitor: str) -> list[str]:
    return [
        f"    - {{class_path: EarlyStopping, init_args: {{monitor: {monitor}, mode: max, patience: 2}}}}",
        f"    - {{class_path: ModelCheckpoint, init_args: {{monitor: {monitor}, mode: max}}}}",
    ]


def _batch_size(num_train: int) -> int:
    """A power of two that makes about 200 batches of an epoch, from 64 to 4,096."""
    return min(4096, max(64, 1 << max(0, (num_train // BATCHES_OF_AN_EPOCH).bit_length() - 1)))
