"""What all tests share: one thread, the optional real data, and a small prepared folder made on the spot."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# How long an example takes says how busy a machine is.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


SLOW = (
    *("sharding", "gpu", "compression", "semantic_ids", "tables/test_embedding_programs.py", "tables/test_swapping.py"),
    *("tables/test_other_models.py", "tables/test_fitting.py", "tables/test_embedding_bag.py", "tables/test_sizing.py"),
    *("commands/test_compare.py", "commands/test_evaluate", "commands/test_semantic_ids.py", "data/test_resume.py"),
    *("tasks/test_next_item.py", "tasks/test_semantic_items.py", "tasks/test_resumption.py"),
    *("tasks/test_predictions.py", "test_console.py", "test_pages.py"),
    *("tasks/test_ctr.py", "tasks/test_summary.py", "tasks/test_pisa.py"),
    *("configuration/test_session_cli.py", "test_bad_inputs.py"),
    *("test_cli.py", "prepare/files/test_bad_lines.py", "checkpoints/test_consolidated.py", "models/test_models.py"),
)
"""Tests that start processes, train for long, or go through every table: `make check` leaves them to `make test`."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none; mark what is slow."""
    from contract import UNLIKE

    tests = Path(__file__).parent
    for item in items:
        path = item.path.relative_to(tests).as_posix()
        example = item.callspec.params.get("example", UNLIKE[0]) if hasattr(item, "callspec") else UNLIKE[0]
        if path.startswith(SLOW) or example not in UNLIKE:
            item.add_marker("slow")
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data beside the project, where there is one."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no shared data beside the project")
    return folder


SIZES = {"C1": 8, "C2": 300, "C3": 900}


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """2,000 train rows with a planted signal: 2 dense columns, 3 categorical, 1 multi-valued."""
    folder = tmp_path_factory.mktemp("prepared") / "criteo"
    generator = np.random.default_rng(0)
    splits = {"train": 2_000, "val": 500, "test": 500}
    for split, num_rows in splits.items():
        (folder / split).mkdir(parents=True)
        columns = {f"I{i}": generator.random(num_rows, dtype=np.float32) for i in (1, 2)}
        columns |= {name: generator.integers(0, size, num_rows, dtype=np.int32) for name, size in SIZES.items()}
        score = 3 * columns["I1"] + np.where(columns["C1"] % 2, 2.0, -2.0) - 1.5
        columns["label"] = (generator.random(num_rows) < 1 / (1 + np.exp(-score))).astype(np.float32)
        tags = [generator.integers(0, 20, generator.integers(0, 4)).tolist() for _ in range(num_rows)]
        table = pa.table({**columns, "tags": pa.array(tags, pa.list_(pa.int32()))})
        pq.write_table(table, folder / split / "part-00000.parquet", row_group_size=256)
    features = [{"name": name, "kind": "dense"} for name in ("I1", "I2")]
    features += [{"name": name, "kind": "categorical", "num_embeddings": size} for name, size in SIZES.items()]
    features += [{"name": "tags", "kind": "multi_valued", "num_embeddings": 20, "pooling": "mean"}]
    head = {"format_version": 1, "dataset": "criteo", "label": "label", "features": features}
    rows = {split: {"num_rows": num_rows, "label_rate": 0.5} for split, num_rows in splits.items()}
    (folder / "schema.json").write_text(json.dumps({**head, "splits": rows}))
    return folder
