"""What the tests of sharding share."""

import pytest
import torch


@pytest.fixture
def group(tmp_path):
    """A process group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.fixture
def ungrouped():
    """Ends the process group that a trainer leaves."""
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
