"""Two processes with unlike seeds hold equal copies, one of them no row, and send what the plan says."""

import pytest
import torch

from tests.sharding.processes import torchrun


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agreement")
    torchrun("agreement_worker.py", 2, folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_what_is_replicated_is_agreed_on_where_it_is_made(found):
    first, second = (each["made"] for each in found)
    assert first.keys() == second.keys()
    for name, values in first.items():
        assert torch.equal(values, second[name]), name
    assert {"tables.mixed.projection", "tables.managed.init_seed", "frozen.weight"} <= first.keys()


def test_a_process_without_a_row_takes_part(found):
    one = found[0]["made"]
    assert one["one.weight"].shape == (1, 8)
    assert one["one.variance"].abs().sum() > 0


@pytest.mark.parametrize("case", ["history", "hashed"])
def test_a_step_sends_what_each_matrix_own_ids_need(found, case):
    planned = sum(each["sent"][case][0] for each in found)
    measured = sum(each["sent"][case][1] for each in found)
    assert measured == pytest.approx(planned, rel=0.05)
