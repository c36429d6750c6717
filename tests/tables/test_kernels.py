"""Compiled kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

GATHERS = """
from pathlib import Path
import numba.core.caching

# A read-only installation, and a user without a home: no folder of numba's can be written.
numba.core.caching.CacheImpl._locator_classes = []

import numpy as np
from recsys.tables.lookups.kernels import gather

found = np.empty((2, 1), dtype=np.float32)
gather(np.float32([[1], [2]]), np.array([1, -1]), found, 0, 2)
assert found.tolist() == [[2], [0]], found
"""


def test_kernels_work_where_nothing_can_be_kept_on_disk():
    pytest.importorskip("numba")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", GATHERS], capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr
