"""Bytes sent, worked out by hand for 10 rows of width 3 and 6 ids in each process; how they are shown."""

import pytest

from recsys.sharding.report import PlannedMatrix, show
from recsys.tables import SGD, DenseGradient, Frozen, PhysicalTable, Sharding, TableSharding
from recsys.tables.sharded.communication import Network, Traffic, traffic
from recsys.tables.sharded.plan import place_tables

IDS = 6


def sent(kind, network, optimizer=None, row_dim=3):
    table, optimizer = PhysicalTable("a", 10, row_dim, 0.1), optimizer or SGD()
    sharding = Sharding({"a": TableSharding(kind)}, ranks_per_host=network.ranks_per_host)
    placement = place_tables([table], {"a": optimizer}, network.num_ranks, sharding)["a"]
    return traffic(table, optimizer, placement, IDS, network)


SHARDED = ("table_wise", "column_wise", "row_wise", "table_row_wise")


@pytest.mark.parametrize(("num_ranks", "share"), [(2, 1 / 2), (4, 3 / 4)])
def test_bytes_on_one_host(num_ranks, share):
    # An all-reduce of 10 x (3 + 1) values of 4 bytes: 160 bytes, times 2 x 1/2 and 2 x 3/4.
    assert sent("data_parallel", Network(num_ranks)) == Traffic(320 * share)
    # Ids 48, vectors 72 there and 72 back, of which 1/2 and 3/4 are for others; a width of 3 is one piece.
    for kind in SHARDED:
        assert sent(kind, Network(num_ranks)) == Traffic((48 + 2 * 72) * share)


def test_every_piece_of_columns_gets_the_ids():
    # Width 8 in two pieces: ids 2 x 48, vectors 192 there and 192 back.
    assert sent("column_wise", Network(2), row_dim=8) == Traffic((96 + 2 * 192) / 2)
    assert sent("column_wise", Network(4), row_dim=8) == Traffic((96 + 2 * 192) * 3 / 4)


def test_bytes_between_two_hosts_of_two():
    # Of all-to-alls one quarter stays, one goes to the neighbour, two leave; a ring of 2 has one way out.
    network = Network(4, 2)
    assert sent("data_parallel", network) == Traffic(120, 120)
    for kind in SHARDED:
        assert sent(kind, network) == Traffic(48, 96)
    # Width 8: ids 2 x 48, vectors of 192.
    assert sent("grid_shard", network, row_dim=8) == Traffic((96 + 384) / 4, (96 + 384) / 2)


def test_dense_gradients_have_no_counts_and_frozen_rows_send_nothing():
    assert sent(None, Network(2), DenseGradient()) == Traffic(120)
    assert sent(None, Network(4), DenseGradient()) == Traffic(180)
    assert sent(None, Network(4), Frozen()) == Traffic()


def test_one_process_sends_nothing():
    assert sent("row_wise", Network(1)) == Traffic()


@pytest.mark.parametrize(
    ("batch_size", "said"), [(10, "10 samples with one id of every feature sends 2.2 kB"), (None, "1 ")]
)
def test_the_report_says_what_an_id_sends(capsys, monkeypatch, batch_size, said):
    monkeypatch.setenv("COLUMNS", "160")
    plan = [
        PlannedMatrix("a", 10, 4, "table_wise", "whole on 0", "fused", [160, 0], 100.0, 200.0, 0.0),
        PlannedMatrix("b", 10, 4, "data_parallel", "replicated", None, [160, 160], 0.0, 0.0, 200.0),
    ]
    show(plan, batch_size)
    out = capsys.readouterr().out
    assert "sent an id" in out
    assert f"A step of {said}" in out
