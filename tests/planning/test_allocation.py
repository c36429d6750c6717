"""Plans keep to their budget, and no other number of heads has fewer expected collisions."""

import itertools
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.commands.plan import main, read_columns
from recsys.planning import Allocation, Column, allocate
from recsys.planning.placing import Fleet, place
from recsys.tables import Feature, FullTable, HeadTailTable, TableCollection

DIM = 4


def falling(counts):
    return np.array([0, *sorted(counts, reverse=True)])


def expected_collisions(columns, heads, num_rows, num_lookups):
    """Share of reads in the tail, times ids of the tail a vector of it; id by id."""
    reads = tail_reads = tail_ids = 0
    for column in columns:
        for number, count in enumerate(column.counts):
            reads += count
            if number >= heads[column.name]:
                tail_reads += count
                tail_ids += 1
    return tail_reads / max(1, reads) * tail_ids / max(1, num_rows // num_lookups)


@given(
    st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=12), min_size=1, max_size=3),
    st.integers(0, 40),
    st.sampled_from([1, 2]),
    st.sampled_from([0, 3]),
)
@settings(max_examples=200, deadline=None)
def test_no_other_split_of_the_budget_collides_less(counts, more_vectors, num_lookups, exact_up_to):
    columns = [Column(f"f{i}", falling(each)) for i, each in enumerate(counts)]
    exact = [c for c in columns if c.num_embeddings <= exact_up_to]
    others = [c for c in columns if c not in exact]
    num_vectors = sum(c.num_embeddings for c in exact) + len(others) + 1 + more_vectors
    plan = allocate(columns, DIM, 4 * DIM * num_vectors, exact_up_to, num_lookups)
    assert plan.num_bytes <= 4 * DIM * num_vectors
    assert all(plan.heads[c.name] == c.num_embeddings for c in exact)
    if num_vectors >= sum(c.num_embeddings for c in columns):
        assert plan.num_rows == 0
        assert plan.heads == {c.name: c.num_embeddings for c in columns}
        return
    assert plan.num_bytes == 4 * DIM * num_vectors, "all of it is used"
    found = expected_collisions(columns, plan.heads, plan.num_rows, num_lookups)
    ranked = sorted(((-count, i, k) for i, c in enumerate(others) for k, count in enumerate(c.counts) if k))
    for num_heads in range(min(len(ranked), more_vectors) + 1):
        heads = dict(plan.heads) | {c.name: 1 for c in others}
        for _, i, _ in ranked[:num_heads]:
            heads[others[i].name] += 1
        num_rows = num_lookups * (num_vectors - sum(heads.values()))
        assert found <= expected_collisions(columns, heads, num_rows, num_lookups) + 1e-9


def test_less_than_the_smallest_plan_is_refused():
    columns = [Column("a", falling([3, 2, 1])), Column("b", falling(range(100)))]
    with pytest.raises(ValueError, match=r"budget_bytes=95 does not pay .* smallest budget that does is 96 bytes"):
        allocate(columns, DIM, 95, exact_up_to=4)
    assert allocate(columns, DIM, 96, exact_up_to=4).heads == {"a": 4, "b": 1}
    with pytest.raises(ValueError, match="embedding_dim=4 must be a multiple of num_lookups=3"):
        allocate(columns, DIM, 1000, num_lookups=3)


@pytest.mark.parametrize(
    ("num_ids", "num_rows", "num_lookups"), [(1, 5, 2), (3, 2, 2), (4, 3, 1), (2, 4, 3), (2, 1, 2)]
)
def test_readers_of_a_row_are_those_of_all_ways_to_hash(num_ids, num_rows, num_lookups):
    readers = []
    for rows in itertools.product(range(num_rows), repeat=num_ids * num_lookups):
        each = [rows[i : i + num_lookups] for i in range(0, len(rows), num_lookups)]
        readers += [sum(row in others for others in each) for row in each[0]]
    plan = Allocation({"a": 2, "b": 7}, num_rows, DIM, num_lookups, num_bytes=0)
    columns = [Column("a", falling(range(1 + num_ids))), Column("b", falling(range(6)))]
    assert plan.readers(columns) == pytest.approx(np.mean(readers))


def test_a_plan_without_a_tail_has_no_readers_of_it():
    columns = [Column("a", falling([3, 2, 1]))]
    assert allocate(columns, DIM, 1000).readers(columns) == 0


def test_what_devices_hold_adds_up():
    columns = [Column("a", falling(range(5_000))), Column("b", falling(range(3_000)))]
    plan = allocate(columns, 8, 4 * 8 * 4_000)
    fleet = Fleet(num_devices=4, memory_bytes=10**9, batch_size=4_096, devices_per_host=2)
    placed = place(plan, columns, fleet)
    rows = sum(plan.heads.values()) + plan.num_rows
    assert 4 * placed.least_bytes <= plan.num_bytes + 4 * rows <= 4 * placed.most_bytes
    assert placed.sent.within > 0
    assert placed.sent.between > 0
    with pytest.raises(ValueError, match=r"does not fit: with the state of RowWiseAdagrad .* take more devices"):
        place(plan, columns, Fleet(4, 1_000, 4_096, 2))


@pytest.fixture(scope="module")
def counted(prepared, tmp_path_factory):
    """The prepared folder with counts that fall."""
    folder = tmp_path_factory.mktemp("counted") / "data"
    shutil.copytree(prepared, folder)
    (folder / "counts").mkdir()
    for feature in json.loads((folder / "schema.json").read_text())["features"]:
        if size := feature.get("num_embeddings"):
            table = pa.table({"id": np.arange(size), "count": falling(10_000 // np.arange(1, size))})
            pq.write_table(table, folder / "counts" / f"{feature['name']}.parquet")
    return folder


def test_the_command_writes_tables_of_just_the_bytes(counted, tmp_path, capsys):
    out = tmp_path / "plan.yaml"
    words = [str(counted), "--budget_fraction", "20%", "--exact_up_to", "10", "--embedding_dim", "8"]
    assert main([*words, "--out", str(out), "--gpus", "8"]) == 0
    printed = capsys.readouterr().out
    assert "8 devices" in printed
    written = yaml.safe_load(out.read_text())["model"]["init_args"]
    sizes = {c.name: c.num_embeddings for c in read_columns(counted)}
    tables = {}
    for entry, features in written["assign"].items():
        for name in features:
            made = written["tables"][entry]
            arguments = {} if made == "FullTable" else made["init_args"]
            tables[name] = (HeadTailTable if arguments else FullTable)(name, sizes[name], 8, **arguments)
    collection = TableCollection([Feature(name, name) for name in tables], tables)
    held = sum(matrix.num_bytes() for matrix in collection.lookup.tables.values())
    assert 0.95 * 0.2 * 32 * sum(sizes.values()) < held <= 0.2 * 32 * sum(sizes.values())
    with pytest.raises(ValueError, match="exists; choose another file"):
        main([*words, "--out", str(out)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget_fraction", "0.00001"], "smallest budget that does is"),
        (["--budget_fraction", "10%", "--num_lookups", "0"], "--num_lookups must be at least 1, got 0"),
        (["--budget_fraction", "10%", "--exact_up_to", "-3"], "--exact_up_to must be at least 0, got -3"),
        (["--budget_fraction", "10%", "--gpus", "12"], "--gpus 12 must be a multiple of --gpus_per_host 8"),
        (["--budget_fraction", "10%", "--gpus", "8", "--memory", "1kB"], "the plan does not fit"),
    ],
)
def test_a_mistake_is_named(counted, words, message):
    with pytest.raises(ValueError, match=message):
        main([str(counted), *words])
