"""Products of small matrices that others share equal those of a copy for each."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from recsys.tables.grouped import grouped_product


@given(num_left=st.integers(0, 40), num_right=st.integers(1, 12), skew=st.sampled_from([1, 6]), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_values_and_gradients_are_those_of_a_copy_for_each(num_left, num_right, skew, seed):
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(num_left, 2, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    right = torch.randn(num_right, 5, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    places = (torch.rand(num_left, generator=generator) ** skew * num_right).long()
    found, wanted = grouped_product(left, right, places), left @ right[places]
    assert_close(found, wanted)
    weights = torch.randn(wanted.shape, dtype=torch.float64, generator=generator)
    gradients = [torch.autograd.grad((each * weights).sum(), (left, right)) for each in (found, wanted)]
    assert_close(gradients[0], gradients[1])
