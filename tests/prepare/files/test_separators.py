"""Separators in messages."""

import pytest

from recsys.prepare.files.separators import in_words


@pytest.mark.parametrize(
    ("separator", "words"), [("\t", "a tab"), (b"\t", "a tab"), (" ", "a space"), (",", "','"), (b";", "';'")]
)
def test_a_separator_in_words(separator, words):
    assert in_words(separator) == words
