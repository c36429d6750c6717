"""The plan: one for all processes, with the memory of the smallest."""

import json

import pytest

from tests.sharding.plan_worker import CASES
from tests.sharding.processes import torchrun


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    """What each of two processes was told, by case."""
    folder = tmp_path_factory.mktemp("plans")
    torchrun("plan_worker.py", 2, folder)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_processes_with_unequal_memory_make_one_plan(plans, case):
    first, *others = plans[0][case]
    assert plans[1][case] == plans[0][case]
    assert all(other == first for other in others)


def test_a_plan_that_cannot_be_is_refused_in_one_sentence(plans):
    for found in plans:
        assert "process 0 would hold 5,120,000 bytes" in found["own, too large"][0]
        assert "memory_bytes=4,000,000" in found["own, too large"][0]
        assert found["planner, too large"][0].startswith("torchrec's planner finds no plan of 2 matrices")
        assert "bytes left in each (strict constraints); use more" in found["planner, too large"][0]
        assert found["misspelt"][0].startswith("sharding constraint 'larg' names no matrix")


def test_the_planner_cuts_narrow_columns(plans):
    kind, shards = plans[0]["columns"][0]["large"]
    assert kind == "column_wise"
    assert shards.count("columns=(0, 8)") == shards.count("columns=(8, 16)") == 1
