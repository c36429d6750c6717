"""Binary search by reads and comparisons, as it is exported."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.tables.routing.search import bisect, lower_bound

INTEGERS = st.integers(-(2**62), 2**63 - 1)


@settings(deadline=None)
@given(st.lists(INTEGERS, min_size=1, max_size=40), st.lists(INTEGERS, min_size=1, max_size=10))
def test_halving_finds_what_a_search_does(ascending, values):
    ascending, values = torch.tensor(sorted(ascending)), torch.tensor(values + ascending[:3])
    expected = torch.tensor([int((ascending < value).sum()) for value in values])
    assert torch.equal(bisect(ascending, values), expected)
    assert torch.equal(lower_bound(ascending, values), expected)
