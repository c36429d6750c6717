"""Rows of narrow dtypes step in wide ones."""

import pytest
import torch
from torch.testing import assert_close

from recsys.tables import RowWiseAdagrad
from tests.tables.test_row_steps import D, assert_rows, collect, draw, every_lookup, every_optimizer


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_optimizer
def test_narrow_rows_have_wide_state_and_steps(dtype, optimizer):
    """Each step is the float32 step of the rounded rows; float16 sums of squares would overflow or stand still."""
    narrow, wide = collect(optimizer, dtype=dtype), collect(optimizer)
    for step in range(5):
        for name in wide.lookup.tables:
            wide.lookup.load_weight(name, narrow.lookup.weight(name).float())
        ids, weights = draw(step)
        grad = (weights * 300).to(dtype)
        narrow(ids).backward(grad)
        wide(ids).backward(grad.float())
        for collection in (narrow, wide):
            collection.step()
        for name in wide.lookup.tables:
            ours, theirs = narrow.lookup.tensors(name), wide.lookup.tensors(name)
            assert ours["weight"].dtype == dtype
            assert_close(ours["weight"], theirs["weight"].to(dtype))
            for kind in optimizer.state_dims(D):
                assert ours[kind].dtype == torch.float32
                assert_close(ours[kind], theirs[kind], rtol=1e-5, atol=1e-5)


@every_lookup
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_module_that_is_moved_to_a_dtype_reads_in_it_and_keeps_its_rows(lookup, dtype):
    collection, wanted = collect(RowWiseAdagrad(0.1), lookup), collect(RowWiseAdagrad(0.1), lookup)
    collection.to(dtype)
    optimizer = torch.optim.SGD(collection.parameters(), lr=0.1)
    ids, weights = draw(0)
    vectors = collection(ids)
    assert vectors.dtype == dtype
    assert_close(vectors, wanted(ids).to(dtype))
    vectors.backward(weights.to(dtype))
    optimizer.step()
    wanted(ids).backward(weights.to(dtype).float())
    wanted.step()
    assert collection.lookup.weight("a").dtype == torch.float32
    assert_rows(collection, wanted, rtol=1e-5, atol=1e-6)
