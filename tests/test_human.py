"""Words reach the terminal and pictures as they are."""

import doctest
import io
import json
import sys

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

import recsys.human
from recsys.human import as_json, console, drawn

WORDS = ["[/b]", "price[usd]", ":smile:", "[link=x]y", r"\[x]", "[red]1[/red]"]


def test_words_are_printed_as_they_are(capsys):
    view = Table(title="[/title] :smile:", caption="[/i]")
    view.add_column("[/column]")
    for word in WORDS:
        view.add_row(word)
    console(width=100).print(view)
    console().print("[/note]")
    printed = capsys.readouterr().out
    assert all(word in printed for word in [*WORDS, "[/title] :smile:", "[/i]", "[/column]", "[/note]"])


@pytest.mark.parametrize("words", ["$x$", "5$ to 9$", r"a\$b$", "$", "no sign", r"$\frac{", "$$"])
def test_words_are_drawn_as_they_are(words):
    figure = Figure()
    FigureCanvasAgg(figure)
    label = figure.text(0, 0, drawn(words))
    figure.canvas.draw()
    assert label._preprocess_math(label.get_text()) == (words, False)


def test_examples_in_docstrings():
    assert doctest.testmod(recsys.human).failed == 0


def test_a_reader_that_has_gone(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    with pytest.raises(BrokenPipeError):
        console().print("word")


def test_json_that_any_program_reads():
    content = {"a": [float("nan"), (1, float("-inf"))], "b": {"c": 0.5, "d": None, "e": True, "f": "x"}}
    read = json.loads(as_json(content), parse_constant=pytest.fail)
    assert read == {"a": [None, [1, "-inf"]], "b": {"c": 0.5, "d": None, "e": True, "f": "x"}}
