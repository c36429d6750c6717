"""What led to an error, however it was raised."""

from recsys.causes import led_to


def test_causes_and_contexts_in_their_order():
    last, second, first = ValueError("last"), OSError("second"), KeyError("first")
    last.__cause__, second.__context__ = second, first
    assert list(led_to(last)) == [last, second, first]
    assert list(led_to(None)) == []


def test_an_error_among_its_own_causes_is_told_once():
    first, second = ValueError("first"), TypeError("second")
    first.__cause__, second.__context__ = second, first
    assert list(led_to(first)) == [first, second]
