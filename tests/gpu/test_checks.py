"""The checks of a GPU, and on a CPU that they can pass."""

import os
from pathlib import Path

import pytest
import torch

from tests.gpu.checks import all_checks

NAMES = sorted(all_checks(Path()))
ON_CPU = [name for name in NAMES if not name.startswith("table:") or name.endswith("FbgemmLookup, RowWiseAdagrad")]


@pytest.fixture(autouse=True)
def alone():
    """Ends the process group that a trainer leaves, and forgets where it was met."""
    before = dict(os.environ)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name in os.environ.keys() - before.keys():
        del os.environ[name]


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_on_a_gpu(name, prepared):
    all_checks(prepared)[name](torch.device("cuda"))


@pytest.mark.parametrize("name", ON_CPU)
def test_the_checks_pass_on_a_cpu(name, prepared):
    all_checks(prepared)[name](torch.device("cpu"))
