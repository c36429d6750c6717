"""One of two processes that save twice; the second is killed in the midst of the second save."""

import os
import signal
import sys
import warnings
from functools import partial
from pathlib import Path

import torch.distributed as dist

from recsys.checkpoints import folder as checkpoint_folder
from recsys.tables import TorchrecLookup
from tests.sharding.lookup_worker import SHARDINGS, collection_of, train

if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    os.environ["LOCAL_WORLD_SIZE"] = "2"
    dist.init_process_group("gloo")
    collection = collection_of("adagrad", partial(TorchrecLookup, sharding=SHARDINGS["row_wise"]))
    checkpoint_folder.write(Path(sys.argv[1]) / "last.ckpt", {"state_dict": collection.state_dict()})
    train(collection, dist.get_rank(), 2)
    if dist.get_rank() == 1:
        checkpoint_folder._save_tensors = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    checkpoint_folder.write(Path(sys.argv[1]) / "last.ckpt", {"state_dict": collection.state_dict()})
