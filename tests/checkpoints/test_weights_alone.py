"""Checkpoints with and without the state of optimizers."""

import pytest

from recsys.checkpoints.weights_alone import begin_anew


def test_weights_alone_begin_anew_and_a_whole_state_goes_on():
    alone, whole = {"loops": {}}, {"optimizer_states": [], "lr_schedulers": [], "loops": {}}
    assert begin_anew(alone)
    assert alone == {"optimizer_states": [], "lr_schedulers": []}
    assert not begin_anew(whole)
    assert "loops" in whole


@pytest.mark.parametrize(
    ("kept", "lost"), [("optimizer_states", "lr_schedulers"), ("lr_schedulers", "optimizer_states")]
)
def test_half_of_the_state_is_damage(kept, lost):
    with pytest.raises(ValueError, match=f"the checkpoint is damaged: it lacks {lost}; go on from another one"):
        begin_anew({kept: []})
