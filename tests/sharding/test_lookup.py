"""Sharded lookups of every type over four processes, then two that go on, against the plain one in this process."""

import shutil

import pytest
import torch

from recsys.checkpoints import folder as checkpoint_folder
from recsys.tables import TorchLookup
from tests.sharding.lookup_worker import CASES, collection_of, rows_of, train
from tests.sharding.processes import torchrun

IDS = ["-".join(case) for case in CASES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lookup")
    for num_ranks in (4, 2):
        torchrun("lookup_worker.py", num_ranks, folder)
    return folder


@pytest.fixture(scope="module")
def sharded(folder):
    return {num_ranks: torch.load(folder / f"{num_ranks}.pt", weights_only=True) for num_ranks in (4, 2)}


@pytest.fixture(scope="module")
def plain():
    """What one process reaches after the steps of four, and after those of two that follow."""
    found = {}
    for optimizer in {optimizer for _, optimizer in CASES}:
        collection = collection_of(optimizer, TorchLookup)
        for num_ranks in (4, 2):
            train(collection, 0, 1, seed=num_ranks)
            found[num_ranks, optimizer] = rows_of(collection)
    return found


def assert_equal(found, wanted):
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-5, msg=f"{name} differs")


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_processes_reach_what_the_plain_lookup_reaches(sharded, plain, case):
    assert_equal(sharded[4]["-".join(case)], plain[4, case[1]])


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_two_processes_go_on_where_four_stopped(sharded, plain, case):
    name = "-".join(case)
    for key, values in sharded[4][name].items():
        assert torch.equal(sharded[2][f"{name}-loaded"][key], values), key
    assert_equal(sharded[2][name], plain[2, case[1]])


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_folder_of_four_processes_is_read_without_any(folder, sharded, case):
    state = checkpoint_folder.read(folder / f"{'-'.join(case)}-4.ckpt")["state_dict"]
    rows = {key.removeprefix("lookup.").removeprefix("tables."): value for key, value in state.items()}
    for key, values in sharded[4]["-".join(case)].items():
        assert torch.equal(rows[key], values), key
    collection = collection_of(case[1], TorchLookup)
    collection.load_state_dict(state)


def test_the_types_asked_for_are_used(sharded):
    # Given vectors are frozen, and therefore on every process.
    found = {
        case: [place for place in sharded[4]["-".join(case) + "-places"] if case[0] == "mixed" or place != "replicated"]
        for case in CASES
    }
    assert set(found["row_wise", "sgd"]) == {"rows over 0, 1, 2, 3"}
    assert all(place.startswith("whole on ") for place in found["table_wise", "sgd"])
    # A width of 8 has two pieces that kernels can read.
    assert found["column_wise", "sgd"][0] in {f"columns over {a}, {b}" for a in range(4) for b in range(a + 1, 4)}
    assert found["planner_columns", "sgd"][0].startswith("columns over ")
    assert set(found["table_row_wise", "sgd"]) == {"rows over 0, 1", "rows over 2, 3"}
    assert found["grid_shard", "sgd"][0] == "grid over 0, 1, 2, 3"
    assert found["mixed", "sgd"][:2] == ["replicated", "rows over 0, 1, 2, 3"]


def test_rows_have_passed_from_id_to_id_and_ids_wait(sharded):
    state = sharded[4]["row_wise-sgd"]
    assert int(state["managed.num_intervals"]) == 6
    assert int(state["cce.num_clusterings"]) == 1
    assert int((state["managed.slot_ids"] < 200).sum()) == 39
    assert len(state["managed._extra_state"]) == 2 * 12


def test_a_process_killed_while_all_save_leaves_the_checkpoint_before(tmp_path):
    with pytest.raises(AssertionError, match="SIGKILL"):
        torchrun("kill_worker.py", 2, tmp_path)
    state = checkpoint_folder.read(tmp_path / "last.ckpt")["state_dict"]
    first = collection_of("adagrad", TorchLookup).state_dict()
    assert all(torch.equal(state[key], values) for key, values in first.items())


def test_a_missing_part_is_found(folder, tmp_path):
    shutil.copytree(folder / "row_wise-sgd-4.ckpt", tmp_path / "c.ckpt")
    for file in sorted(tmp_path.rglob("*.safetensors")):
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(ValueError, match="is missing or not"):
            checkpoint_folder.read(tmp_path / "c.ckpt")
        file.write_bytes(content)
    checkpoint_folder.read(tmp_path / "c.ckpt")
