"""One of two processes that save a checkpoint where something else is."""

import os
import sys
import warnings
import weakref
from pathlib import Path

import torch
import torch.distributed as dist

from recsys.checkpoints import folder as checkpoint_folder


def said(path):
    """What a process raises when all save to a path; None if it saves."""
    try:
        checkpoint_folder.write(path, {"state_dict": {"weight": torch.ones(3)}})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    os.environ["LOCAL_WORLD_SIZE"] = "2"
    dist.init_process_group("gloo")
    found = [None] * 2
    dist.all_gather_object(found, {path.name: said(path) for path in sorted(Path(sys.argv[1]).glob("*.ckpt"))})
    if dist.get_rank() == 0:
        torch.save(found, Path(sys.argv[1]) / "said.pt")
    dist.barrier()
    group = weakref.ref(dist.group.WORLD)
    dist.destroy_process_group()
    if group() is not None:
        raise AssertionError("something still holds the group, whose threads can abort this process as it exits")
