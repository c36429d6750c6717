"""Adam in one pass: the same steps, unless the user has said something else."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from recsys.tasks.fused import fuse, join_equal_groups


def parameters():
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in ((40, 30), (30,), ())]


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1, "betas": (0.8, 0.99)}, {"amsgrad": True}], ids=str)
def test_steps_are_the_same(kind, settings):
    plain, fused = parameters(), parameters()
    optimizers = [kind(plain, lr=0.01, **settings), fuse(kind(fused, lr=0.01, **settings))]
    assert [group["fused"] for group in optimizers[1].param_groups] == [True]
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        for one, other in zip(plain, fused, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert_close(fused, plain, rtol=1e-6, atol=1e-6)


def test_what_was_saved_goes_on_to_the_bit():
    whole = parameters()
    optimizer = fuse(torch.optim.Adam(whole, lr=0.01))
    states = []
    for step in range(6):
        if step == 3:
            states = [copy.deepcopy(optimizer.state_dict()), [each.detach().clone() for each in whole]]
        for each in whole:
            each.grad = torch.full_like(each, 0.1 * (step + 1))
        optimizer.step()
    later = [nn.Parameter(each) for each in states[1]]
    resumed = fuse(torch.optim.Adam(later, lr=0.01))
    resumed.load_state_dict(states[0])
    for step in range(3, 6):
        for each in later:
            each.grad = torch.full_like(each, 0.1 * (step + 1))
        resumed.step()
    assert_close(later, whole, rtol=0, atol=0)


@pytest.mark.parametrize(
    "settings", [{"fused": False}, {"foreach": True}, {"foreach": False}, {"differentiable": True}], ids=str
)
def test_what_a_user_says_stays(settings):
    optimizer = fuse(torch.optim.Adam(parameters(), lr=0.01, **settings))
    assert not optimizer.param_groups[0]["fused"]


def test_other_optimizers_and_devices_stay():
    class Own(torch.optim.Adam):
        pass

    on_meta = [nn.Parameter(torch.zeros(3, device="meta"))]
    for optimizer in (Own(parameters()), torch.optim.Adam(on_meta), torch.optim.NAdam(parameters())):
        assert not fuse(optimizer).param_groups[0].get("fused")


def test_groups_of_equal_settings_are_one():
    first, second, third = (nn.Parameter(torch.ones(2)) for _ in range(3))
    groups = [{"params": [first]}, {"params": [second], "weight_decay": 0.0}, {"params": [third], "lr": 0.5}]
    optimizer = join_equal_groups(torch.optim.Adam(groups))
    assert [[id(each) for each in group["params"]] for group in optimizer.param_groups] == [
        [id(first), id(second)],
        [id(third)],
    ]
    decayed = join_equal_groups(torch.optim.AdamW([{"params": [first]}, {"params": [second], "weight_decay": 0.0}]))
    assert len(decayed.param_groups) == 2
