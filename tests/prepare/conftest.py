"""Ten-line raw files and a reader of prepared folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

INTEGERS = [f"I{number}" for number in range(1, 14)]
CATEGORIES = [f"C{number}" for number in range(1, 27)]


class Prepared:
    """A prepared folder, read the plain way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.schema = json.loads((folder / "schema.json").read_text())

    def column(self, split: str, name: str) -> list:
        return pq.read_table(self.folder / split)[name].to_pylist()

    def counts(self, feature: str) -> dict[int, int]:
        table = pq.read_table(self.folder / "counts" / f"{feature}.parquet")
        return dict(zip(table["id"].to_pylist(), table["count"].to_pylist(), strict=True))

    def vocabulary(self, feature: str) -> dict[str, int]:
        table = pq.read_table(self.folder / "vocabulary" / f"{feature}.parquet")
        return dict(zip(table["value"].to_pylist(), table["id"].to_pylist(), strict=True))

    def feature(self, name: str) -> dict:
        return next(entry for entry in self.schema["features"] if entry["name"] == name)

    def file_bytes(self) -> dict[str, bytes]:
        files = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


@pytest.fixture
def open_prepared() -> Callable[[Path], Prepared]:
    return Prepared


@pytest.fixture
def criteo_line() -> Callable[..., str]:
    """Make one raw line; keyword arguments replace fields by column name."""

    def make(label: str = "0", **fields: str) -> str:
        columns = dict.fromkeys(INTEGERS, "1") | dict.fromkeys(CATEGORIES, "0000000a") | fields
        return "\t".join([label, *(columns[name] for name in INTEGERS + CATEGORIES)])

    return make


@pytest.fixture
def criteo_lines(criteo_line: Callable[..., str]) -> list[str]:
    """Ten lines: C1 is b b a a c (train: eight rows), with a missing one, then unseen ones in val and test."""
    c1 = ["b", "b", "a", "a", "c", "", "b", "a", "d", "c"]
    i2 = ["-3", "-4", "0", "", "5", "1", "1", "1", "1", "1"]
    return [criteo_line(str(row % 2), C1=c1[row], I2=i2[row], I1=str(row)) for row in range(10)]


@pytest.fixture
def criteo_raw(tmp_path: Path, criteo_lines: list[str]) -> Path:
    path = tmp_path / "train.txt"
    path.write_text("\n".join(criteo_lines) + "\n")
    return path
