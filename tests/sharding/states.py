"""What a sharded task holds, gathered."""

import torch

from recsys.tasks.base import TableTask


def whole_state(task: TableTask) -> dict[str, torch.Tensor]:
    """The dense part as it is, and every matrix and its state whole; all processes must ask together."""
    lookup = task.collection.lookup
    found = {name: value for name, value in task.state_dict().items() if not name.startswith("collection.lookup.")}
    for table in lookup.tables:
        found |= {f"{table}.{kind}": value.clone() for kind, value in lookup.tensors(table).items()}
    return found
