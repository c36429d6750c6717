"""The table of methods is what the classes say."""

import json
import re
from pathlib import Path

import pytest

from recsys.commands.methods import END, START, STEPS, bytes_at, main, methods
from recsys.tables import FullTable, HashTable, MixedDimTable

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tables.md"


def test_every_method_is_on_the_page():
    between = PAGE.read_text().split(START)[1].split(END)[0]
    assert re.findall(r"^\| `(\w+)`", between, re.MULTILINE) == [method.__name__ for method in methods()]


def test_bytes_are_those_of_the_tables_that_budgets_make():
    assert bytes_at(HashTable, 1_000, 8, 0.5) == "16.0 kB"
    assert bytes_at(MixedDimTable, 1_000, 8, 0.01) == "from 12.6%", "a value a row and the projection"
    assert bytes_at(FullTable, 1_000, 8, 0.5) == ""


def test_the_page_is_updated_between_its_marks(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{START}\nwhat was here\n{END}\nafter\n")
    assert main(["--num_embeddings", "100", "--embedding_dim", "8", "--update", str(page)]) == 0
    text = page.read_text()
    assert text.startswith(f"before\n{START}\n| table |")
    assert text.endswith(f"{END}\nafter\n")
    assert "what was here" not in text
    page.write_text("no marks")
    with pytest.raises(ValueError, match="has no '<!-- methods -->'"):
        main(["--update", str(page), "--num_embeddings", "100"])


def test_a_narrow_terminal_breaks_no_name_and_no_number(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--num_embeddings", "1000", "--embedding_dim", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[1:] if line[0] != " "] == [method.__name__ for method in methods()]
    assert "HashTable yes 16.0 kB 3.2 kB 320 B".split() in [line.split() for line in lines]


def test_steps_are_those_that_were_stored_beside_the_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"{START}\n{END}\n")
    steps = {"HashTable": {"step_ratio": 1.014}, "TTTable, 20 %": {"step_ratio": 1.9}}
    (tmp_path / STEPS).write_text(json.dumps({"methods": steps}))
    assert main(["--num_embeddings", "100", "--update", str(page)]) == 0
    header, rule, *rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith("|")]
    assert (header[-1], rule[-1]) == ("step |", "--: |")
    found = {row[0].strip("| `"): row[-1].strip(" |") for row in rows}
    assert (found["HashTable"], found["TTTable"]) == ("1.01", "")
    with pytest.raises(ValueError, match=r"page\.md' is no file of benchmarks/tables\.py"):
        main(["--steps", str(page)])
