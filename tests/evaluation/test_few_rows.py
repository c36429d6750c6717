"""Of a few rows little is known: values stand alone, and what is infinite says why."""

import math

import numpy as np
import pytest

from recsys.commands.evaluate import main
from recsys.evaluation.intervals import POSITIVE, SHARE, Comparison, Interval, if_enough, interval, num_draws_of


def evaluate(tmp_path, capsys, rows, *options, head="label,score"):
    file = tmp_path / "scores.csv"
    file.write_text("\n".join([head, *(",".join(map(str, row)) for row in rows)]) + "\n")
    assert main([str(file), *options]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("num_rows", [2, 9, 10])
def test_few_rows_give_no_interval(tmp_path, capsys, num_rows):
    rows = [(number % 2, 0.3 + 0.04 * (number % 7)) for number in range(num_rows)]
    said = evaluate(tmp_path, capsys, rows)
    assert ("little is known: fewer than 10" in said) == (num_rows < 10)
    assert ("[0." in said) == (num_rows >= 10)


def test_few_groups_give_none_either(tmp_path, capsys):
    rows = [(number % 2, 0.3 + 0.04 * (number % 7), number % 3) for number in range(60)]
    said = evaluate(tmp_path, capsys, rows, "--group", "user", head="label,score,user")
    assert "Of 3 groups little is known" in said
    assert "[0." not in said


def test_an_infinite_log_loss_is_explained(tmp_path, capsys):
    rows = [(number % 2, 0.3 + 0.04 * (number % 7)) for number in range(40)]
    assert "is infinite" not in evaluate(tmp_path, capsys, rows)
    said = evaluate(tmp_path, capsys, [*rows, (1, 0.0), (0, 1.0), (0, 0.0)])
    assert "2 scores are 0 or 1 where the label is the other: the log loss is infinite." in said


def test_too_few_draws_take_bounds_and_tests_away():
    found = if_enough({"a": Interval(1, 0, 2)}, 9)["a"]
    assert found.value == 1
    assert math.isnan(found.low)
    assert math.isnan(if_enough({"a": Comparison(1, 2, 1, 0, 2, 0.01)}, 9)["a"].p_value)
    assert if_enough({"a": Interval(1, 0, 2)}, 10)["a"] == Interval(1, 0, 2)


def test_no_interval_reaches_beyond_what_is_linear():
    assert math.isnan(interval(1.0, 2.0, 0.95, POSITIVE).low)
    assert interval(1.0, 1.0, 0.95, POSITIVE).high == pytest.approx(math.exp(1.959964), rel=1e-6)
    assert interval(0.5, 2.0, 0.95, SHARE).low < 0.01, "a share has its own bounds"


def test_draws_are_counted_as_weights_say():
    assert num_draws_of(4, None, None) == 4
    assert num_draws_of(4, np.array([3, 0, 1, 1]), None) == 5
    assert num_draws_of(4, np.array([3, 0, 1, 1]), np.array([0, 0, 5, 5])) == 2
