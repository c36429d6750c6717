"""Session models on two gloo processes train and rank like one process on the same sessions."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.data.test_session_data import NUM_ITEMS, write_folder
from tests.sharding.processes import torchrun
from tests.sharding.session_worker import BATCH, CASES, NUM_STEPS, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Users of two to nine events, two in each visit; one process has none in the last batches of both splits."""
    generator = np.random.default_rng(0)

    def rows(number):
        lengths = generator.integers(2, 10, number)
        return [
            (user, generator.integers(1, NUM_ITEMS + 1, n).tolist(), user % 12 + 1) for user, n in enumerate(lengths)
        ]

    num_sessions = (NUM_STEPS // 2 - 1) * BATCH + 1
    splits = {"train": rows(num_sessions), "val": rows(41), "test": rows(1)}
    return write_folder(
        tmp_path_factory.mktemp("sessions") / "made", splits, time_of=lambda k: 100 * k + 500 * (k // 2)
    )


@pytest.fixture(scope="module")
def two(folder, tmp_path_factory):
    """What two processes reached, by case."""
    out = tmp_path_factory.mktemp("two")
    torchrun("session_worker.py", 2, out, folder, 2)
    return torch.load(out / "found.pt", weights_only=True), out


@pytest.mark.parametrize("case", CASES)
def test_two_processes_reach_what_one_reaches(two, folder, tmp_path, case):
    one = train(folder, case, 1, tmp_path)
    assert len(one["losses"]) == NUM_STEPS
    assert two[0][case]["losses"] == pytest.approx(one["losses"], abs=1e-5)
    assert one["losses"][-1] != pytest.approx(one["losses"][0], abs=1e-3), "something was learnt"
    assert one["state"].keys() == two[0][case]["state"].keys()
    for name, values in one["state"].items():
        torch.testing.assert_close(two[0][case]["state"][name], values, rtol=0, atol=1e-5, msg=f"{name} differs")
    assert two[0][case]["metrics"] == pytest.approx(one["metrics"], abs=1e-6, nan_ok=True)
    predicted = [pq.read_table(folder / f"{case}.parquet").to_pydict() for folder in (tmp_path, two[1])]
    assert len(predicted[0]["items"]) > 0
    np.testing.assert_allclose(predicted[1]["scores"], predicted[0]["scores"], atol=1e-5)
