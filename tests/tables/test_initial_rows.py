"""A range of a matrix' first rows, drawn without holding the matrix."""

import pytest
import torch

from recsys.tables import PhysicalTable

TABLE = PhysicalTable("a", 1_000, 6, 0.1)


def rows_of(first, last, **settings):
    """What the blocks hold, and where the first one begins."""
    blocks = [(start, rows.clone()) for start, rows in TABLE.initial_blocks(first, last, **settings)]
    stops = [start + len(rows) for start, rows in blocks]
    assert [start for start, _ in blocks] == [first, *stops[:-1]]
    return torch.cat([rows for _, rows in blocks])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("block_values", [1, 37, 96, 6_000, 1 << 20])
def test_any_range_has_the_bits_of_the_whole(block_values, dtype):
    whole = TABLE.initial_rows(dtype)
    for first, last in ((0, 1_000), (0, 1), (333, 500), (999, 1_000)):
        assert torch.equal(rows_of(first, last, dtype=dtype, block_values=block_values), whole[first:last])


def test_an_empty_range_draws_nothing():
    assert list(TABLE.initial_blocks(0, 0)) == list(TABLE.initial_blocks(1_000, 1_000)) == []


def test_a_large_matrix_takes_the_memory_of_a_block(monkeypatch):
    sizes, empty = [], torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **settings: sizes.append(size) or empty(*size, **settings))
    table = PhysicalTable("a", 3_000_000, 4, 0.1)
    storages = {rows.untyped_storage().data_ptr() for _, rows in table.initial_blocks(2_000_000, 3_000_000)}
    assert sizes == [((1 << 20) // 4, 4)]
    assert len(storages) == 1
