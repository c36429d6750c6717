"""The Pareto front against brute force, and what a report shows."""

from dataclasses import replace
from itertools import combinations

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from recsys.commands.compare import show
from recsys.comparison import Summary, pareto_front
from recsys.comparison.plots import scatter
from recsys.comparison.report import ComparisonReport

points = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=12)


@given(points)
def test_the_front_is_all_that_nothing_beats(points):
    num_bytes, quality = zip(*points, strict=True)

    def beats(a, b):
        return a[0] <= b[0] and a[1] >= b[1] and a != b

    expected = {place for place, point in enumerate(points) if not any(beats(other, point) for other in points)}
    front = pareto_front(num_bytes, quality)
    assert set(front) == expected
    assert [num_bytes[place] for place in front] == sorted(num_bytes[place] for place in front)


def test_what_is_not_a_number_is_not_on_the_front():
    nan, infinite = float("nan"), float("inf")
    assert pareto_front([1, 2, 3, 4, 5], [nan, 0.5, infinite, -infinite, 0.6]) == [1, 4]
    assert pareto_front([1], [nan]) == []


def summary(name, test, num_bytes, **more):
    return Summary(name, 3, test, 0.001, test + 0.01, 0.4, num_bytes, 3 * num_bytes, 1e5, 10**9, **more)


@pytest.fixture
def report():
    rows = [summary("full", 0.9, 1_000_000), summary("small", 0.88, 10_000), summary("bad", 0.87, 50_000)]
    rows.append(summary("told", 0.95, 2_000_000, published=0.94, source="a paper"))
    return ComparisonReport("tables", "auc", "max", rows, {"broken, seed 0": "no such class"}, ["late, seed 1"])


def test_files_of_a_report(report, tmp_path):
    report.write(tmp_path / "out")
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| full \\* | 0.9000 +- 0.0010 |" in table
    assert "| bad | 0.8700" in table
    assert "Published: a paper." in table
    assert "Failed: broken, seed 0: no such class" in table
    assert "Not run: late, seed 1." in table
    assert pq.read_table(tmp_path / "out" / "summaries.parquet")["contender"].to_pylist()[0] == "full"
    assert (tmp_path / "out" / "pareto.png").stat().st_size > 5_000
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<svg") == 1
    assert page.count('class="front"') == 3
    assert "no such class" in page


def test_what_is_left_out_is_said_with_its_reason(report, tmp_path):
    told = replace(report, left_out={"huge": "its floor is <above>"})
    told.write(tmp_path)
    assert "- huge: its floor is <above>" in (tmp_path / "table.md").read_text()
    assert "huge: its floor is &lt;above&gt;" in (tmp_path / "report.html").read_text()


def test_of_many_runs_that_are_missing_the_first_are_named(report):
    text = replace(report, missing=[f"late, seed {seed}" for seed in range(9)]).markdown()
    assert "Not run: late, seed 0, late, seed 1," in text
    assert "late, seed 5 and 3 more." in text


def test_what_is_printed_names_the_runs_that_failed_or_are_missing(report, capsys):
    show(report)
    printed = capsys.readouterr().out
    assert "FAILED broken, seed 0: no such class" in printed
    assert "Not run: late, seed 1." in printed


def test_log_loss_has_a_column_where_there_is_one(report):
    assert report.header().count("log loss") == 1
    assert report.cells()[0][2] == "0.4000"
    without = replace(report, summaries=[replace(each, log_loss=float("nan")) for each in report.summaries])
    assert "log loss" not in without.header()
    assert all(len(row) == len(without.header()) for row in without.cells())


def test_for_losses_less_is_better(report):
    loss = ComparisonReport("losses", "log_loss", "min", report.summaries, {}, [])
    assert loss.header().count("log loss") == 0
    assert [loss.summaries[place].contender for place in loss.front()] == ["small", "bad"]


def test_names_are_words_and_not_markup(tmp_path):
    rows = [summary("a|b <script>", 0.9, 1_000), summary("plain", float("nan"), 10)]
    report = ComparisonReport("R&D <b>", "auc", "max", rows, {"x, seed 0": "a < b"}, [])
    assert "| a\\|b <script> \\* | 0.9000" in report.markdown()
    report.write(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "R&amp;D &lt;b&gt;" in page
    assert "a|b &lt;script&gt;" in page
    assert "a &lt; b" in page
    assert page.count("<svg") == 1


def test_names_in_the_picture_cover_nothing_and_stay_within_the_axes():
    rows = [summary(f"A long name, {place}", 0.9 + place / 5_000, 1_000_000 + place) for place in range(8)]
    rows.append(summary("A name even longer than all of the others", 0.88, 2_000_000))
    figure = scatter(rows, [0], "auc")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.lines[0].get_drawstyle() == "steps-post"
    boxes = [Text.get_window_extent(name) for name in axes.texts if name.get_text()]
    inside = axes.get_window_extent()
    assert len(boxes) == len(rows)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)
    assert all(inside.y0 <= box.y0 and box.y1 <= inside.y1 for box in boxes)


def test_a_page_is_updated_between_its_marks_alone(report, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- comparison: tables -->\nold\n<!-- end -->\nafter\n")
    report.update(page)
    report.update(page)
    text = page.read_text()
    assert text.startswith("before\n<!-- comparison: tables -->\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "\nold\n" not in text
    assert text.count("| full \\* |") == 1
    page.write_text("no marks")
    with pytest.raises(ValueError, match="needs one line '<!-- comparison: tables -->'"):
        report.update(page)
