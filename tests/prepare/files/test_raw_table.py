"""Files of events with lines that cannot be read: which lines those are, and that all others are kept."""

from __future__ import annotations

import csv
import gzip
import io

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.prepare.files.bad_lines import BadLineError
from recsys.prepare.files.raw_table import read_table
from recsys.prepare.files.text_table import TextFormat
from recsys.prepare.programs import sessions

HEADER = b"who,what,when\n"
GOOD = [b"u,a,1", b"u,b,2", b"u,c,3", b'"v,w",a,1', b"v,b,2"]
BAD = {
    b"u,a,7,more": "expected 3 columns separated by ',', found 4",
    b"u,\xff,7": "byte 0xff at byte 3 is not valid utf-8",
    b'u,"a,7': "a quote that is not closed",
}


def read(path, skip_bad=False):
    needed = dict.fromkeys(("who", "what", "when"), "--raw")
    return read_table([path], TextFormat(ragged=True), "--raw", skip_bad, needed)


def write(folder, lines, name="log.csv"):
    path = folder / name
    path.write_bytes(HEADER + b"\n".join(lines) + b"\n")
    return path


@pytest.mark.parametrize("line", BAD)
@pytest.mark.parametrize("place", range(len(GOOD) + 1))
def test_a_bad_line_is_named_or_left_out(tmp_path, line, place):
    path = write(tmp_path, [*GOOD[:place], line, *GOOD[place:]])
    with pytest.raises(BadLineError) as error:
        read(path)
    hint = "Mend the line, or pass --on-bad-line skip to leave it out."
    assert str(error.value) == f"log.csv, line {place + 2}: {BAD[line]}. {hint}"
    table = read(path, True)
    assert table.frame.equals(read(write(tmp_path, GOOD, "good.csv")).frame)
    assert [(bad.line, bad.reason) for bad in table.bad] == [(place + 2, BAD[line])]
    assert table.lines.tolist() == [line for line in range(2, len(GOOD) + 3) if line != place + 2]


def test_skipped_lines_are_counted_in_the_report(tmp_path, capsys):
    path = write(tmp_path, [GOOD[0], *BAD, *GOOD[1:], b"v,c,", b"v,c,9"])
    columns = ["--user", "who", "--item", "what", "--time", "when"]
    command = ["--raw", str(path), "--out", str(tmp_path / "out"), *columns]
    with pytest.raises(SystemExit, match=r"log\.csv, line 3: expected 3 columns"):
        sessions.main(command)
    sessions.main([*command, "--on-bad-line", "skip"])
    assert (
        "log.csv: 10 rows read, 3 bad lines skipped (the first: line 3, expected 3 columns separated by ',', found 4), "
        "1 bad rows skipped (the first: log.csv, line 10: column 'when' holds '', not a time, "
        "or too large for --time-unit, or not of 1900 to 2200 (see --time-format))"
    ) in capsys.readouterr().out


def test_nothing_but_bad_lines(tmp_path):
    with pytest.raises(ValueError, match=r"log\.csv' has no usable rows"):
        read(write(tmp_path, list(BAD)), True)
    path = tmp_path / "names.csv"
    path.write_bytes(b"\nu,a\n,\xff\n")
    with pytest.raises(ValueError, match=r"names\.csv, line 1: names no column"):
        read(path, True)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"names\.csv, line 1: the file is empty"):
        read(path, True)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_the_slow_way_reads_what_the_fast_way_reads(tmp_path, start, end):
    rows = [b"who,what,when", b"u,a,1", b'"v ""x""",b', b'w,"",""', b""]
    good = start + (end or b"\n").join(rows) + end
    (tmp_path / "good.csv").write_bytes(good)
    (tmp_path / "bad.csv.gz").write_bytes(gzip.compress(good + b"\n"[len(end) :] + b"1,2,3,4\n"))
    fast = read(tmp_path / "good.csv").frame.with_columns(pl.all().replace("", None))
    assert read(tmp_path / "bad.csv.gz", True).frame.head(len(fast)).equals(fast)


TEXTS = st.text(st.sampled_from('ab,"\n\t é'), max_size=5)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1), st.data())
def test_values_with_quotes_and_newlines_beside_a_bad_line(tmp_path_factory, rows, data):
    """Records as Python's writer quotes them, with one line of four values somewhere among them."""
    place = data.draw(st.integers(0, len(rows)))
    records = []
    for row in rows:
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(row)
        records.append(stream.getvalue().encode()[:-1])
    folder = tmp_path_factory.mktemp("log")
    table = read(write(folder, [*records[:place], b"1,2,3,4", *records[place:]]), True)
    assert table.frame.rows() == [tuple(text or None for text in row) for row in rows]
    assert [bad.line for bad in table.bad] == [2 + place + sum(record.count(b"\n") for record in records[:place])]


def test_a_space_belongs_to_a_name_as_to_a_value(tmp_path):
    path = tmp_path / "spaced.csv"
    path.write_bytes(b"who, what ,when\nu, a,1\nu,a,2\n")
    table = read_table([path], TextFormat(), "--raw", False, dict.fromkeys(("who", " what ", "when"), "--raw"))
    assert table.frame[" what "].to_list() == [" a", "a"]
    with pytest.raises(ValueError, match="has no column 'what'; did you mean ' what '"):
        read_table([path], TextFormat(), "--raw", False, dict.fromkeys(("who", "what", "when"), "--raw"))
    path.write_bytes(b"who, ,when\nu,a,1\n")
    with pytest.raises(ValueError, match="column 2 has no name"):
        read_table([path], TextFormat(), "--raw", False, {"who": "--raw"})
