"""The plan: one for all processes, with the memory of the smallest."""

import json

import pytest
import torch

from recsys.tables import (
    SGD,
    Adagrad,
    Adam,
    DenseGradient,
    Frozen,
    PhysicalTable,
    RowWiseAdagrad,
    Sharding,
    TableSharding,
)
from recsys.tables.sharded.plan import bytes_on, place_tables
from recsys.tables.sharded.planner import plan_tables
from tests.sharding.plan_worker import CASES
from tests.sharding.processes import torchrun


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    """What each of two processes was told, by case."""
    folder = tmp_path_factory.mktemp("plans")
    torchrun("plan_worker.py", 2, folder)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("case", sorted(set(CASES) - {"broken"}))
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


def test_an_error_of_the_process_that_plans_reaches_the_others(plans):
    first, second = (found["broken"][0] for found in plans)
    assert first == "'large'", "a matrix without an optimizer"
    assert second == f"the first process failed: KeyError: {first}"


def test_the_planner_cuts_narrow_columns(plans):
    kind, shards = plans[0]["columns"][0]["large"]
    assert kind == "column_wise"
    assert shards.count("columns=(0, 8)") == shards.count("columns=(8, 16)") == 1


def place(optimizer, sharding, num_ranks=2, num_rows=10, row_dim=3, name="a"):
    """The placement of one matrix."""
    table = PhysicalTable(name, num_rows, row_dim, 0.1)
    return place_tables([table], {name: optimizer}, num_ranks, sharding)[name]


@pytest.mark.parametrize("optimizer", [Adam(), SGD(weight_decay=0.1), RowWiseAdagrad()])
def test_few_rows_are_replicated_where_there_are_several_processes(optimizer):
    assert place(optimizer, Sharding(), 2).sharding_type == "data_parallel"
    assert place(optimizer, Sharding(), 1).sharding_type == "table_wise"
    assert place(optimizer, Sharding(replicate_rows=9), 2).sharding_type == "row_wise"


def test_rows_are_counted_without_padding():
    table = PhysicalTable("a", 10, 3, 0.1)
    replicated, by_rows = place(Adagrad(), Sharding()), place(Adagrad(), Sharding(replicate_rows=0))
    assert [bytes_on(table, Adagrad(), replicated, rank) for rank in range(2)] == [10 * 3 * 8] * 2
    assert [bytes_on(table, RowWiseAdagrad(), replicated, rank) for rank in range(2)] == [10 * (3 * 4 + 4)] * 2
    assert by_rows.sharding_type == "row_wise"
    assert [bytes_on(table, Adagrad(), by_rows, rank) for rank in range(2)] == [5 * 3 * 8] * 2


def test_replicated_rows_have_no_kernel_and_count_as_memory(group):
    sharding = Sharding({"*": TableSharding(compute_kernel="fused_uvm")})
    assert place(SGD(), sharding).compute_kernel is None
    assert place(SGD(), Sharding(sharding.constraints, replicate_rows=0)).compute_kernel == "fused_uvm"
    table = PhysicalTable("a", 10, 3, 0.1)
    with pytest.raises(ValueError, match="would hold 360 bytes"):
        plan_tables([table], {"a": 1}, {"a": Adam()}, Sharding(memory_bytes=359), torch.device("cpu"))


def test_the_planner_replicates_what_is_asked_to_be(group):
    table, sharding = PhysicalTable("a", 10, 3, 0.1), Sharding({"a": TableSharding("data_parallel")}, True, 9)
    placements = plan_tables([table], {"a": 1}, {"a": SGD()}, sharding, torch.device("cpu"))
    assert placements["a"].sharding_type == "data_parallel"


@pytest.mark.parametrize("optimizer", [DenseGradient(), Frozen()])
def test_patterns_pass_over_rows_that_are_always_replicated(optimizer):
    for pattern in ("*", "?", "[ab]"):
        assert place(optimizer, Sharding({pattern: TableSharding("row_wise")})).sharding_type == "data_parallel"
    with pytest.raises(ValueError, match=r"'a': .* rows are replicated, so sharding_type must be data_parallel"):
        place(optimizer, Sharding({"a": TableSharding("row_wise")}))


def test_a_name_with_brackets_is_a_name_first():
    sharding = Sharding({"a[0]": TableSharding("row_wise"), "*": TableSharding("table_wise")})
    assert place(SGD(), sharding, name="a[0]").sharding_type == "row_wise"


def test_a_misspelt_constraint_names_the_nearest_matrix():
    tables = [PhysicalTable(name, 10, 4, 0.1) for name in ("items", "users")]
    with pytest.raises(ValueError, match=r"'item' names no matrix; did you mean 'items'\? \(known: items, users\)"):
        place_tables(tables, dict.fromkeys(("items", "users"), SGD()), 2, Sharding({"item": TableSharding("row_wise")}))


def test_a_kernel_asked_for_by_name_shards_few_rows_or_is_refused():
    kernel = {"a": TableSharding(compute_kernel="fused_uvm")}
    found = place(SGD(), Sharding(kernel))
    assert (found.sharding_type, found.compute_kernel) == ("row_wise", "fused_uvm")
    for optimizer, sharding in (
        (Frozen(), Sharding(kernel)),
        (SGD(), Sharding({"a": TableSharding("data_parallel", "fused_uvm")})),
    ):
        with pytest.raises(ValueError, match="'a': replicated rows have no compute_kernel, got fused_uvm"):
            place(optimizer, sharding)
