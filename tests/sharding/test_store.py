"""Rows written into sharded stores."""

import torch

from recsys.tables import SGD, PhysicalTable, Sharding, TorchrecLookup
from recsys.tables.sharded.shards import remote_device


def test_rows_are_drawn_by_blocks(group, monkeypatch):
    tables = {"a": PhysicalTable("a", 50, 6, 0.1)}
    wanted = tables["a"].initial_rows()
    monkeypatch.delattr(PhysicalTable, "initial_rows")
    lookup = TorchrecLookup(tables, {"a": SGD()}, {"a": 1}, sharding=Sharding(replicate_rows=0))
    assert torch.equal(lookup.weight("a"), wanted)
    lookup.load_weight("a", wanted + 1)
    lookup.reset_rows("a", torch.tensor([3]), torch.zeros(1, 6))
    assert torch.equal(lookup.read_rows("a", torch.tensor([2, 3])), torch.stack([wanted[2] + 1, torch.zeros(6)]))


def test_a_shard_lies_on_the_device_of_its_process(group, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert remote_device(0, torch.device("cuda", 2)) == "rank:0/cuda:2"
    assert remote_device(5, torch.device("cuda", 2)) == "rank:5/cuda:1"
    assert remote_device(5, torch.device("cpu")) == "rank:5/cpu"
