"""Processes share the windows of an epoch, and go on where it was left."""

import json

import numpy as np
import pytest

from recsys.data import SessionLoader


def make_loaders(num_ranks, batch_size, num_windows=23):
    def order(epoch, size):
        return np.random.default_rng([epoch, size]).permutation(num_windows)

    kind = {"batch_size": batch_size, "num_ranks": num_ranks}
    return [SessionLoader(order, lambda rows: rows, num_windows, {"seed": 0}, rank=r, **kind) for r in range(num_ranks)]


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 4, 10, 30])
def test_ranks_share_every_window_once(num_ranks, batch_size):
    batches = [list(loader) for loader in make_loaders(num_ranks, batch_size)]
    assert {len(of) for of in batches} == {len(make_loaders(num_ranks, batch_size)[0])}
    assert sorted(np.concatenate([batch for of in batches for batch in of])) == list(range(23))
    assert all(len(batch) <= batch_size for of in batches for batch in of)


@pytest.mark.parametrize("before", [(1, 4), (2, 3), (3, 2)])
@pytest.mark.parametrize("after", [(1, 4), (2, 3), (4, 5)])
def test_another_number_of_ranks_goes_on_where_the_last_stopped(before, after):
    seen, states = [], []
    for loader in make_loaders(*before):
        batches = iter(loader)
        seen += [next(batches), next(batches)]
        states.append(json.loads(json.dumps(loader.state_dict())))
    assert all(state == states[0] for state in states)
    for loader in make_loaders(*after):
        loader.load_state_dict(states[0])
        seen += list(loader)
        assert len(list(loader)) == len(loader)
    assert sorted(np.concatenate(seen)) == list(range(23))


def test_a_state_of_other_data_is_refused():
    (loader,) = make_loaders(1, 4)
    with pytest.raises(ValueError, match="in the middle of an epoch with seed=1, now seed=0"):
        loader.load_state_dict({"seed": 1, "epoch": 0, "num_used": 4, "batch_size": 4})
