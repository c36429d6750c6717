"""The Pareto front against brute force, and what a report shows."""

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.comparison import Summary, pareto_front
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


def test_for_losses_less_is_better(report):
    loss = ComparisonReport("losses", "log_loss", "min", report.summaries, {}, [])
    assert [loss.summaries[place].contender for place in loss.front()] == ["small", "bad"]


def test_a_page_is_updated_between_its_marks_alone(report, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- comparison -->\nold\n<!-- end -->\nafter\n")
    report.update(page)
    report.update(page)
    text = page.read_text()
    assert text.startswith("before\n<!-- comparison -->\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "\nold\n" not in text
    assert text.count("| full \\* |") == 1
    page.write_text("no marks")
    with pytest.raises(ValueError, match="needs one line '<!-- comparison -->'"):
        report.update(page)
