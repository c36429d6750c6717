"""Which ids have rows: by the definition, and as torchrec has it."""

from collections import Counter

import pytest
import torch

from recsys.tables import LFU, LRU
from tests.tables.test_managed_collision import ROWS, V, drifting, every_policy, observe, rows_of, table_of


class SlowTable:
    """Who has a row, by the policies' definitions: one id after the other."""

    def __init__(self, policy, num_rows, eviction_interval):
        self.policy, self.capacity, self.eviction_interval = policy, num_rows - 1, eviction_interval
        self.counts, self.last_seen, self.waiting, self.num_batches, self.now = {}, {}, Counter(), 0, 0

    def observe(self, ids):
        self.waiting.update(ids)
        self.num_batches += 1
        if self.num_batches % self.eviction_interval:
            return
        self.now += 1
        for identifier in self.counts.keys() & self.waiting.keys():
            self.counts[identifier] += self.waiting[identifier]
            self.last_seen[identifier] = self.now
        old = sorted(self.counts)
        new = sorted(self.waiting.keys() - self.counts.keys(), key=lambda i: (-self.waiting[i], i))
        counts = self.counts | {i: self.waiting[i] for i in new}
        last_seen = self.last_seen | dict.fromkeys(new, self.now)
        # sorted is stable: of equal scores, those with a row come first, then the more frequent.
        best = sorted([*old, *new], key=lambda i: -self.score(counts[i], last_seen[i]))[: self.capacity]
        self.counts = {i: counts[i] for i in best}
        self.last_seen = {i: last_seen[i] for i in best}
        self.waiting = Counter()

    def score(self, count, last_seen):
        if isinstance(self.policy, LRU):
            return last_seen
        if isinstance(self.policy, LFU):
            return count
        return count / (self.now - last_seen + 1) ** self.policy.decay_exponent


@every_policy
@pytest.mark.parametrize("eviction_interval", [1, 3])
def test_the_ids_with_rows_are_those_of_the_definition(policy, eviction_interval):
    table, slow = table_of(policy, eviction_interval=eviction_interval), SlowTable(policy, ROWS, eviction_interval)
    before, evictions = {}, 0
    for ids in drifting(90):
        fresh = observe(table, ids)
        slow.observe(ids.tolist())
        has_row = {i: row for i, row in zip(range(V), rows_of(table, range(V)), strict=True) if row != ROWS - 1}
        assert has_row.keys() == slow.counts.keys()
        assert len(set(has_row.values())) == len(has_row), "two ids in one row"
        stayed = has_row.keys() & before.keys()
        assert all(has_row[i] == before[i] for i in stayed), "an id moved"
        given = {has_row[i] for i in has_row.keys() - before.keys()}
        assert given == set(fresh.rows.tolist())
        evictions += len(before.keys() - has_row.keys())
        before = has_row
    assert evictions > 0


@every_policy
def test_it_is_torchrecs_module_at_an_interval_of_one(policy):
    from torchrec.modules.mc_modules import MCHManagedCollisionModule
    from torchrec.sparse.jagged_tensor import JaggedTensor

    theirs = MCHManagedCollisionModule(ROWS, torch.device("cpu"), policy.build(), eviction_interval=1)
    ours = table_of(policy, eviction_interval=1)
    largest_first = sorted(drifting(30), key=len, reverse=True)  # its history is as long as its first batch wants
    for ids in largest_first:
        remapped = theirs({"item": JaggedTensor(ids, lengths=torch.tensor([len(ids)]))})["item"].values()
        observe(ours, ids)
        assert rows_of(ours, ids) == remapped.tolist()
