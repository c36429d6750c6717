"""Write a GENERATED file in Criteo's raw layout, with a signal that a model can learn."""
from __future__ import annotations

from pathlib import Path


def write_sample(path: Path, num_rows: int, seed: int) -> None:
    raise NotImplementedError
